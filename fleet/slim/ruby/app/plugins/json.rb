require 'json'

module Plugins
  module Json
    TYPE = :json
    def self.write(dishes) = JSON.pretty_generate(dishes)
  end
end
