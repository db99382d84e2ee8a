import { stringify } from 'yaml';

export const type = 'text/yaml';
export const write = (dishes) => stringify(dishes);
