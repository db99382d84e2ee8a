'use strict';

const fs = require('fs');
const path = require('path');

exports.plugins = () =>
  fs.readdirSync(__dirname).filter((name) => /\.m?js$/.test(name) && name !== 'index.js').map((name) => path.parse(name).name);

exports.load = async (name) => {
  const plain = path.join(__dirname, `${name}.js`);
  return fs.existsSync(plain) ? require(plain) : import(path.join(__dirname, `${name}.mjs`));
};
