// Converts values at the boundary of a JavaScript module. Outgoing values are checked against their WIT types. Incoming ones are made
// exact.
//
// `out(type)` returns a function that checks a value of the type and converts it for the engine's bindings. `into(type)` returns a function
// that corrects a value from the bindings, or null if no correction is needed. The bindings give a negative `s64` as an unsigned number.

/** The error for a value that doesn't fit its type. `path` leads from the outermost value to the wrong one. */
class Misfit extends TypeError {
  constructor(wanted, value) {
    super();
    this.wanted = wanted;
    this.found = shown(value);
    this.path = [];
  }

  get message() {
    const place = this.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('');
    return `${place ? `${place.replace(/^\./, '')} ` : ''}must be ${this.wanted}, not ${this.found}`;
  }

  get name() {
    return 'TypeError';
  }
}

/** Formats a value for an error: its kind, and the value itself if it is short. */
function shown(value) {
  if (value === null || value === undefined) return String(value);
  switch (typeof value) {
    case 'bigint':
      return `${value}n`;
    case 'string':
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
    case 'object':
      return Array.isArray(value) ? 'an array' : typeof value.tag === 'string' ? `{ tag: ${shown(value.tag)} }` : 'an object';
    case 'function':
    case 'symbol':
      return `a ${typeof value}`;
    default:
      return `${value}`;
  }
}

function inside(error, part) {
  if (error instanceof Misfit) error.path.unshift(part);
  return error;
}

/** Whether an object is an `Error`, of this or another realm. */
export const isError = (value) => value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';

const INTEGERS = {
  u8: [0, 0xff, Uint8Array],
  s8: [-0x80, 0x7f, Int8Array],
  u16: [0, 0xffff, Uint16Array],
  s16: [-0x8000, 0x7fff, Int16Array],
  u32: [0, 0xffffffff, Uint32Array],
  s32: [-0x80000000, 0x7fffffff, Int32Array],
};

const BIG_INTEGERS = {
  u64: [0n, 0xffffffffffffffffn, BigUint64Array],
  s64: [-0x8000000000000000n, 0x7fffffffffffffffn, BigInt64Array],
};

/** The typed arrays in which the engine passes lists of numbers. */
const ARRAYS = { f32: Float32Array, f64: Float64Array };

const PRIMITIVES = {
  bool: Boolean,
  string: (value) => {
    if (typeof value !== 'string') throw new Misfit('a string', value);
    return value;
  },
  char: (value) => {
    const point = typeof value === 'string' ? value.codePointAt(0) : undefined;
    if (point === undefined || value.length !== (point > 0xffff ? 2 : 1) || (point >= 0xd800 && point <= 0xdfff)) {
      throw new Misfit('a string of one character', value);
    }
    return value;
  },
  f32: number,
  f64: number,
};

function number(value) {
  if (typeof value !== 'number') throw new Misfit('a number', value);
  return value;
}

for (const [name, [least, most, array]] of Object.entries(INTEGERS)) {
  ARRAYS[name] = array;
  PRIMITIVES[name] = (value) => {
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new Misfit(`an integer from ${least} to ${most} (${name})`, value);
    }
    return value;
  };
}

for (const [name, [least, most, array]] of Object.entries(BIG_INTEGERS)) {
  ARRAYS[name] = array;
  PRIMITIVES[name] = (value) => {
    // A safe integer converts exactly. A number beyond 2^53 may have lost digits.
    const exact = Number.isSafeInteger(value) ? BigInt(value) : value;
    if (typeof exact !== 'bigint' || exact < least || exact > most) {
      throw new Misfit(`a BigInt from ${least}n to ${most}n (${name})`, value);
    }
    return exact;
  };
}

/** The checks and conversions for the types of one module. */
export class Values {
  /** @param {object[]} types the type descriptions, which type numbers index */
  constructor(types) {
    this.types = types;
    this.outs = new Map();
    this.intos = new Map();
    /** The classes of exported resources, by the resource's key. */
    this.classes = new Map();
  }

  /** Resolves aliases. Returns the name of a primitive or a description. */
  resolve(type) {
    while (typeof type === 'number') type = this.types[type];
    return type;
  }

  out(type) {
    if (!this.outs.has(type)) this.outs.set(type, this.makeOut(this.resolve(type)));
    return this.outs.get(type);
  }

  makeOut(type) {
    if (typeof type === 'string') return PRIMITIVES[type];
    switch (type.kind) {
      case 'record':
        return this.recordOut(type);
      case 'tuple':
        return this.tupleOut(type);
      case 'list':
        return this.listOut(type);
      case 'variant':
        return this.variantOut(type.name, new Map(type.cases));
      case 'result':
        return this.variantOut('a result', new Map([['ok', type.ok], ['err', type.err]]));
      case 'option':
        return this.optionOut(type);
      case 'enum':
        return enumOut(type);
      case 'flags':
        return flagsOut(type);
      default:
        return this.handleOut(type);
    }
  }

  recordOut({ name, fields }) {
    const parts = fields.map(([field, type]) => [field, this.out(type)]);
    return (value) => {
      if (typeof value !== 'object' || value === null) throw new Misfit(`an object (${name})`, value);
      const out = {};
      for (const [field, check] of parts) {
        try {
          out[field] = check(value[field]);
        } catch (error) {
          throw inside(error, field);
        }
      }
      return out;
    };
  }

  tupleOut({ items }) {
    const parts = items.map((type) => this.out(type));
    return (value) => {
      if (!Array.isArray(value) || value.length !== parts.length) {
        throw new Misfit(`an array of ${parts.length}`, Array.isArray(value) ? `an array of ${value.length}` : value);
      }
      return each(parts.length, (index) => parts[index](value[index]));
    };
  }

  listOut({ item }) {
    const check = this.out(item);
    const array = ARRAYS[this.resolve(item)];
    return (value) => {
      let items = value;
      if (array && ArrayBuffer.isView(value)) {
        // Compares the array's name, not its class: an array from the bindings may have another class of the same name.
        if (value[Symbol.toStringTag] === array.name) return value;
        if (value instanceof DataView) items = null;
      } else if (array === Uint8Array && value instanceof ArrayBuffer) {
        return new Uint8Array(value);
      } else if (!Array.isArray(value)) {
        items = null;
      }
      if (items === null) throw new Misfit(array ? `an array or a ${array.name}` : 'an array', value);
      const checked = each(items.length, (index) => check(items[index]));
      return array ? array.from(checked) : checked;
    };
  }

  variantOut(name, cases) {
    const checks = new Map();
    for (const [tag, type] of cases) checks.set(tag, type === null ? null : this.out(type));
    const wanted = `${name === 'a result' ? name : `one of the cases of ${name}`}: { tag: ${tags(checks)} }`;
    return (value) => {
      const check = typeof value === 'object' && value !== null ? checks.get(value.tag) : undefined;
      if (check === undefined) throw new Misfit(wanted, value);
      if (check === null) return { tag: value.tag };
      try {
        return { tag: value.tag, val: check(value.val) };
      } catch (error) {
        throw inside(error, 'val');
      }
    };
  }

  optionOut({ item, nested }) {
    if (nested) {
      return this.variantOut('an option of an option', new Map([['some', item], ['none', null]]));
    }
    const check = this.out(item);
    return (value) => (value === undefined || value === null ? undefined : check(value));
  }

  handleOut({ name, exported }) {
    return (value) => {
      const fits = exported ? value instanceof this.classes.get(exported) : typeof value === 'object' && value !== null;
      if (!fits) throw new Misfit(`a handle of the resource ${name}`, value);
      return value;
    };
  }

  into(type) {
    if (!this.intos.has(type)) this.intos.set(type, this.makeInto(this.resolve(type)));
    return this.intos.get(type);
  }

  makeInto(type) {
    if (type === 's64') return (value) => BigInt.asIntN(64, value);
    if (type === 'u64') return (value) => BigInt.asUintN(64, value);
    switch (type.kind) {
      case 'record':
        return intoFields(type.fields.map(([field, part]) => [field, this.into(part)]));
      case 'tuple':
        return intoFields(type.items.map((part, index) => [index, this.into(part)]));
      case 'variant':
        return this.intoVariant(new Map(type.cases));
      case 'result':
        return this.intoVariant(new Map([['ok', type.ok], ['err', type.err]]));
      case 'option': {
        if (type.nested) return this.intoVariant(new Map([['some', type.item]]));
        const mend = this.into(type.item);
        return mend && ((value) => (value === undefined || value === null ? value : mend(value)));
      }
      default:
        // Items of lists come from memory, where they are exact.
        return null;
    }
  }

  intoVariant(cases) {
    const mends = new Map();
    for (const [tag, type] of cases) if (type !== null && this.into(type)) mends.set(tag, this.into(type));
    if (mends.size === 0) return null;
    return (value) => {
      const mend = mends.get(value.tag);
      if (mend) value.val = mend(value.val);
      return value;
    };
  }
}

function intoFields(parts) {
  const mends = parts.filter(([, mend]) => mend);
  if (mends.length === 0) return null;
  return (value) => {
    for (const [field, mend] of mends) value[field] = mend(value[field]);
    return value;
  };
}

function each(length, make) {
  const out = new Array(length);
  for (let index = 0; index < length; index++) {
    try {
      out[index] = make(index);
    } catch (error) {
      throw inside(error, index);
    }
  }
  return out;
}

function enumOut({ name, cases }) {
  const known = new Set(cases);
  return (value) => {
    if (!known.has(value)) throw new Misfit(`one of the cases of ${name}: ${tags(known)}`, value);
    return value;
  };
}

function flagsOut({ name, flags }) {
  const known = new Set(flags);
  return (value) => {
    if (value === undefined || value === null) return {};
    if (typeof value !== 'object' || Array.isArray(value)) throw new Misfit(`an object of booleans (${name})`, value);
    for (const flag of Object.keys(value)) {
      if (!known.has(flag)) throw new Misfit(`without \`${flag}\`, which is none of the flags of ${name}`, value);
    }
    return value;
  };
}

/** Formats the names of cases, at most eight of them. */
function tags(cases) {
  const names = [...cases.keys()];
  const some = names.slice(0, 8).map((name) => `'${name}'`);
  return (names.length > 8 ? [...some, '…'] : some).join(' | ');
}
