require 'rexml/document'

module Plugins
  module Xml
    TYPE = :xml
    def self.write(dishes)
      document = REXML::Document.new('<dishes/>')
      dishes.each { |name, price| document.root.add_element('dish', 'price' => price.to_s).text = name }
      document.to_s
    end
  end
end
