// The texts that customers get, and how their places are filled.

import { Invalid, byteLength } from './common.ts';
import type { Field } from './model.ts';

/** The longest value of a place, in bytes. */
const MAX_VALUE = 256;

/** Unicode's control characters. The engine knows no `\p{Cc}`. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** A text with places, each `{name}`. */
export class Template {
  readonly name: string;
  /** The names of the places, sorted. */
  readonly places: readonly string[];
  readonly text: string;

  constructor(name: string, places: readonly string[], text: string) {
    this.name = name;
    this.places = places;
    this.text = text;
  }

  /** The template of this name. */
  static find(name: string): Template {
    const found = TEMPLATES.find((template) => template.name === name);
    if (found) return found;
    throw new Invalid('template', `must be one of: ${TEMPLATES.map((template) => template.name).join(', ')}`);
  }

  /** Puts the fields in the order of the places. There is one for each place and no other. */
  arrange(fields: readonly Field[]): Field[] {
    fields.forEach(({ name, value }, index) => {
      const refuse = (part: string, reason: string): never => {
        throw new Invalid(`fields[${index}].${part}`, reason);
      };
      if (!this.places.includes(name)) refuse('name', `must be one of: ${this.places.join(', ')}`);
      if (fields.findIndex((field) => field.name === name) < index) refuse('name', 'must not be given twice');
      if (byteLength(value) > MAX_VALUE) refuse('value', `must not be longer than ${MAX_VALUE} bytes`);
      // So that a notice is one line of the log, and one line of the database per field.
      if (CONTROL.test(value)) refuse('value', 'must not have control characters');
    });
    return this.places.map((place) => {
      const field = fields.find(({ name }) => name === place);
      if (!field) throw new Invalid('fields', `must have a field named ${place}`);
      return { name: field.name, value: field.value };
    });
  }

  /** The text with its places filled. What a value says is never read as a place again. */
  render(fields: readonly Field[]): string {
    const values = new Map(fields.map(({ name, value }) => [name, value]));
    return this.text.replace(/\{([^}]*)\}/g, (place, name: string) => values.get(name) ?? place);
  }
}

export const TEMPLATES: readonly Template[] = [
  new Template('order-placed', ['order', 'total'], 'Thank you! Your order {order} over {total} was placed.'),
  new Template(
    'order-cancelled',
    ['order', 'total'],
    'Your order {order} over {total} was cancelled. What was charged is given back.',
  ),
];
