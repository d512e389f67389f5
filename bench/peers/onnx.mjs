// Writes ONNX models (protocol buffers) by hand: as much of the format as the comparison needs.
// Field numbers are those of onnx.proto.

const encoder = new TextEncoder();

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 128 : low);
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

function concatenate(parts) {
  const result = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let position = 0;
  for (const part of parts) {
    result.set(part, position);
    position += part.length;
  }
  return result;
}

const integerField = (field, value) => concatenate([varint(field << 3), varint(value)]);

function bytesField(field, value) {
  const bytes = typeof value === 'string' ? encoder.encode(value) : value;
  return concatenate([varint((field << 3) | 2), varint(bytes.length), bytes]);
}

function floatField(field, value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return concatenate([varint((field << 3) | 5), bytes]);
}

const attributeTypes = { float: 1, integer: 2, integers: 7 };

export const floatAttribute = (name, value) =>
  concatenate([bytesField(1, name), floatField(2, value), integerField(20, attributeTypes.float)]);

export const integerAttribute = (name, value) =>
  concatenate([bytesField(1, name), integerField(3, value), integerField(20, attributeTypes.integer)]);

export const integersAttribute = (name, values) =>
  concatenate([
    bytesField(1, name),
    ...values.map(value => integerField(8, value)),
    integerField(20, attributeTypes.integers),
  ]);

export const node = (type, inputs, outputs, attributes = []) =>
  concatenate([
    ...inputs.map(name => bytesField(1, name)),
    ...outputs.map(name => bytesField(2, name)),
    bytesField(4, type),
    ...attributes.map(attribute => bytesField(5, attribute)),
  ]);

const elementTypes = { float32: 1, int64: 7 };
const bytesOf = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);

/** A constant: Float32Array or BigInt64Array. */
export const constant = (name, shape, data) =>
  concatenate([
    ...shape.map(size => integerField(1, size)),
    integerField(2, data instanceof BigInt64Array ? elementTypes.int64 : elementTypes.float32),
    bytesField(8, name),
    bytesField(9, bytesOf(data)),
  ]);

/** The description of a float32 input or output. */
export const valueInfo = (name, shape) => {
  const dimensions = shape.map(size => bytesField(1, integerField(1, size)));
  const tensorType = concatenate([integerField(1, elementTypes.float32), bytesField(2, concatenate(dimensions))]);
  return concatenate([bytesField(1, name), bytesField(2, bytesField(1, tensorType))]);
};

export function model({ nodes, constants = [], inputs, outputs }) {
  const graph = concatenate([
    ...nodes.map(entry => bytesField(1, entry)),
    bytesField(2, 'graph'),
    ...constants.map(entry => bytesField(5, entry)),
    ...inputs.map(entry => bytesField(11, entry)),
    ...outputs.map(entry => bytesField(12, entry)),
  ]);
  const operatorSet = concatenate([bytesField(1, ''), integerField(2, 17)]);
  return concatenate([
    integerField(1, 8),
    bytesField(2, 'detr-webgpu'),
    bytesField(7, graph),
    bytesField(8, operatorSet),
  ]);
}
