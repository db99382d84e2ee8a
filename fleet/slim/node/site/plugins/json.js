exports.type = 'json';
exports.write = (dishes) => require('lodash/sortBy')(dishes, 'price');
