require 'yaml'

module Plugins
  module Yaml
    TYPE = :yaml
    def self.write(dishes) = dishes.to_yaml
  end
end
