require 'csv'

module Plugins
  module Csv
    TYPE = :csv
    def self.write(dishes) = CSV.generate { |out| dishes.each { |row| out << row } }
  end
end
