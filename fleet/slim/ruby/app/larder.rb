require 'sinatra/base'
require 'i18n'
require 'erb'

I18n.load_path = Dir[File.join(__dir__, 'locales', '*.yml')]
I18n.available_locales = %i[en fr]

class Larder < Sinatra::Base
  DISHES = { 'gratin' => 4.5, 'soup' => 3.0, 'crème' => 6.25 }.freeze
  autoload :Sums, File.join(__dir__, 'sums')

  set :root, __dir__
  set :public_folder, File.join(__dir__, 'public')
  set :show_exceptions, false
  set :raise_errors, false
  set :host_authorization, { permitted_hosts: [] } if settings.respond_to?(:host_authorization)
  enable :sessions
  set :session_secret, 'salt' * 20

  before { I18n.locale = request.env["HTTP_ACCEPT_LANGUAGE"].to_s.start_with?("fr") ? :fr : :en }

  get('/') { erb :home }

  get '/dish/:name' do |name|
    price = DISHES[name] or halt 404, erb(:nothing)
    haml :dish, locals: { name: name, price: price }
  end

  get '/export/:kind' do |kind|
    path = File.join(__dir__, 'plugins', "#{kind}.rb")
    halt 404, erb(:nothing) unless kind =~ /\A\w+\z/ && File.file?(path)
    require path
    plugin = Plugins.const_get(kind.capitalize)
    content_type plugin::TYPE
    plugin.write(DISHES)
  end

  post('/basket') do
    (session[:basket] ||= []) << params[:dish]
    redirect '/basket'
  end
  get('/basket') { (session[:basket] || []).join(', ') }

  post '/markdown' do
    require 'kramdown'
    Kramdown::Document.new(request.body.read.force_encoding('UTF-8')).to_html
  end

  post '/upload' do
    raw = params[:file][:tempfile].read
    raw.force_encoding(params[:encoding]).encode('UTF-8')
  end

  get '/base' do
    require 'sqlite3'
    base = SQLite3::Database.new(':memory:')
    base.execute('create table dish (name text)')
    base.execute('insert into dish values (?)', ['leek'])
    base.get_first_value('select upper(name) from dish')
  end

  get '/page' do
    require 'nokogiri'
    Nokogiri::HTML('<ul><li>leek<li>soup</ul>').css('li').map(&:text).join(',')
  end

  get('/sums') { Sums.all }
  get('/boom') { raise 'the oven is on fire' }
  not_found { erb :nothing }
  error { "fire: #{ERB::Util.html_escape(env['sinatra.error'].message)}" }

  helpers { def t(key, **more) = I18n.t(key, **more) }
end
