'use strict';

const path = require('path');
const express = require('express');
const compression = require('compression');
const helmet = require('helmet');
const morgan = require('morgan');
const cookieSession = require('cookie-session');
const i18next = require('i18next');
const FsBackend = require('i18next-fs-backend');
const { LanguageDetector, handle } = require('i18next-http-middleware');
const { body, validationResult } = require('express-validator');

const { plugins, load } = require('./plugins');
const dishes = require('./dishes.json');

i18next.use(FsBackend).use(LanguageDetector).init({
  fallbackLng: 'en',
  preload: ['en', 'fr'],
  initImmediate: false,
  backend: { loadPath: path.join(__dirname, 'locales/{{lng}}/{{ns}}.json') },
  interpolation: { escapeValue: false },
});

const app = express();
app.set('views', path.join(__dirname, 'views'));
app.set('view engine', 'ejs');
app.use(helmet());
app.use(compression({ threshold: 100 }));
app.use(morgan('combined'));
app.use(cookieSession({ name: 'larder', keys: ['salt'] }));
app.use(express.urlencoded({ extended: true }));
app.use(express.json());
app.use(handle(i18next));
app.use('/public', express.static(path.join(__dirname, 'public'), { maxAge: '1d' }));

app.get('/', (req, res) => res.render('home', { t: req.t, dishes }));

app.get('/dish/:slug', (req, res, next) => {
  const dish = dishes.find((one) => one.slug === req.params.slug);
  if (!dish) return next();
  const { marked } = require('marked');
  const clean = require('sanitize-html');
  res.render('dish.pug', { t: req.t, dish, html: clean(marked.parse(dish.text)) });
});

app.get('/menu', (req, res) => res.render('menu.hbs', { title: req.t('menu'), dishes }));

app.get('/export/:kind', async (req, res, next) => {
  if (!plugins().includes(req.params.kind)) return next();
  const plugin = await load(req.params.kind);
  res.type(plugin.type).send(plugin.write(dishes));
});

app.post(
  '/contact',
  body('email').isEmail(),
  body('guests').isInt({ min: 1, max: 12 }),
  (req, res) => {
    const errors = validationResult(req);
    if (!errors.isEmpty()) return res.status(422).json({ errors: errors.array().map((e) => e.path) });
    req.session.guest = req.body.email;
    res.redirect('/thanks');
  },
);
app.get('/thanks', (req, res) => res.send(req.t('thanks', { who: req.session.guest || '?' })));

app.post('/upload', (req, res, next) => {
  const multer = require('multer');
  multer({ storage: multer.memoryStorage() }).single('file')(req, res, (error) => {
    if (error) return next(error);
    const iconv = require('iconv-lite');
    const text = iconv.decode(req.file.buffer, req.body.encoding);
    res.json({ characters: [...text].length, text });
  });
});

app.get('/clock', (req, res) => {
  const moment = require('moment-timezone');
  require(`moment/locale/${req.query.locale === 'fr' ? 'fr' : 'de'}`);
  const noon = moment.tz('2024-07-01T12:00:00Z', req.query.zone || 'UTC').locale(req.query.locale || 'en');
  const formatted = new Intl.DateTimeFormat('ja-JP', { dateStyle: 'full', timeZone: 'Asia/Tokyo' }).format(noon.toDate());
  res.json({ moment: noon.format('dddd LT z'), formatted });
});

app.post('/validate', (req, res) => {
  const Ajv = require('ajv');
  const check = new Ajv({ allErrors: true }).compile({ type: 'object', required: ['title'], properties: { price: { type: 'number', minimum: 0 } } });
  res.json({ valid: check(req.body), errors: (check.errors || []).map((e) => e.message) });
});

app.get('/slow', (req, res, next) => {
  const { Worker } = require('worker_threads');
  const worker = new Worker(path.join(__dirname, 'tasks', 'sum.js'), { workerData: Number(req.query.n || 10) });
  worker.once('message', (sum) => res.json({ sum }));
  worker.once('error', next);
});

app.get('/boom', () => { throw new Error('the oven is on fire'); });

app.use((req, res) => res.status(404).render('404', { t: req.t, path: req.path }));
// eslint-disable-next-line no-unused-vars
app.use((error, req, res, next) => res.status(500).render('500', { t: req.t, error }));

if (require.main === module) {
  const server = app.listen(process.env.PORT || 3000, () => console.log('listening'));
  server.on('upgrade', (request, socket, head) => {
    const { WebSocketServer } = require('ws');
    const sockets = new WebSocketServer({ noServer: true });
    sockets.handleUpgrade(request, socket, head, (ws) => ws.on('message', (data) => ws.send(`${data}`.toUpperCase())));
  });
  process.on('SIGTERM', () => server.close(() => process.exit(0)));
}
module.exports = app;
