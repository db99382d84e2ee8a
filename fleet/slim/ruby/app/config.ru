require_relative 'larder'

use Rack::Deflater
run Larder
