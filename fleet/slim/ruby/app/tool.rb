require 'optparse'
require 'net/http'
require 'open3'
require 'zlib'
require 'tempfile'

options = {}
OptionParser.new { |parser| parser.on('--port N', Integer) { |port| options[:port] = port } }.parse!
puts Net::HTTP.get(URI("http://localhost:#{options[:port]}/basket?x")).inspect
puts Zlib::Inflate.inflate(Zlib::Deflate.deflate('leek' * 9)).length
puts Open3.capture2('/bin/sh', '-c', 'echo "$0"', 'leek').first
puts Fiber.new { Ractor.respond_to?(:new) }.resume, 'ご飯'.encode('Shift_JIS').bytes.length
