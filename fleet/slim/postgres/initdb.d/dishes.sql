create table dish (id serial primary key, name text not null, price numeric(6, 2) check (price > 0), tags text[] default '{}', more jsonb);
insert into dish (name, price, tags, more) values
  ('Gratin dauphinois', 4.50, '{potato,cream}', '{"kcal": 2412}'),
  ('Leek soup', 3.00, '{leek}', '{"kcal": 180}'),
  ('Crème brûlée', 6.25, '{cream,sugar}', '{"kcal": 640}');
