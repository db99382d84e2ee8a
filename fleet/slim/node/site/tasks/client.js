const axios = require('axios');
const joi = require('joi');

axios.get(`http://localhost:${process.env.PORT || 3000}/export/json`).then(({ data }) => {
  const { error } = joi.array().items(joi.object({ slug: joi.string(), title: joi.string(), price: joi.number(), text: joi.string() })).validate(data);
  console.log(data[0].title, error ? error.message : 'as it should be');
});
