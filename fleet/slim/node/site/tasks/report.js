#!/usr/bin/env node
const { v5 } = require('uuid');
const pino = require('pino');
const dishes = require('../dishes.json');

const total = dishes.reduce((sum, dish) => sum + dish.price, 0);
const log = pino({ base: null, timestamp: false });
log.info({ total: new Intl.NumberFormat('fr-FR', { style: 'currency', currency: 'EUR' }).format(total), id: v5('larder', v5.URL) }, 'report');
