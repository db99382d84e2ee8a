exports.type = 'csv';
exports.write = (dishes) => dishes.map((dish) => [dish.slug, dish.price.toFixed(2)].join(',')).join('\n');
