require 'bigdecimal'
require 'bigdecimal/util'
require 'date'
require 'digest'
require 'openssl'
require 'bcrypt'
require 'securerandom'

class Larder
  module Sums
    def self.all
      [
        ('1'.to_d / 7).round(10).to_s('F'),
        Date.new(2024, 7, 14).strftime('%A'),
        Digest::SHA256.hexdigest('leek')[0, 8],
        OpenSSL::Cipher.new('aes-256-gcm').key_len,
        BCrypt::Password.create('x', cost: 4) == 'x',
        'é'.unicode_normalize(:nfd).length
      ].join(' ')
    end
  end
end
