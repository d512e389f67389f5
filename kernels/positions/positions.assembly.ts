import { sineOfQuadrant } from '../math.assembly';
import { addressAt, bytesOf, floatAt, integerAt, storePartial } from '../simd.assembly';

/** Tokens per task; TOKENS_PER_TASK in positions.ts. */
const TOKENS: i32 = 64;
const TWO_PI: f32 = 6.283185307179586;
/** Keeps rows and columns without a real pixel finite. */
const EPSILON: f32 = 1e-6;

// Arguments: mask [B, h, w], coordinates [B, h * w, 2], h, w, offset. A task is an item of the batch.
export function gridCoordinates(args: usize, task: i32, _scratch: usize): void {
  const height = integerAt(args, 2);
  const width = integerAt(args, 3);
  const offset = floatAt(args, 4);
  const mask = addressAt(args, 0) + bytesOf(task * height * width);
  const out = addressAt(args, 1) + bytesOf(task * height * width * 2);
  for (let row = 0; row < height; row++) {
    const x = out + bytesOf(row * width * 2);
    let sum: f32 = 0;
    for (let column = 0; column < width; column++) {
      sum += load<f32>(mask + bytesOf(row * width + column));
      store<f32>(x + bytesOf(column * 2), sum + offset);
    }
    const divisor = sum + EPSILON;
    for (let column = 0; column < width; column++) {
      store<f32>(x + bytesOf(column * 2), load<f32>(x + bytesOf(column * 2)) / divisor);
    }
  }
  for (let column = 0; column < width; column++) {
    const y = out + bytesOf(column * 2 + 1);
    let sum: f32 = 0;
    for (let row = 0; row < height; row++) {
      sum += load<f32>(mask + bytesOf(row * width + column));
      store<f32>(y + bytesOf(row * width * 2), sum + offset);
    }
    const divisor = sum + EPSILON;
    for (let row = 0; row < height; row++) {
      const at = y + bytesOf(row * width * 2);
      store<f32>(at, load<f32>(at) / divisor);
    }
  }
}

// Arguments: coordinates [tokens, C], wavelengths [n padded to 4], out [tokens, parts * n], tokens, C, n, parts, then
// which coordinate each part embeds.
export function sineEmbedding(args: usize, task: i32, _scratch: usize): void {
  const wavelengths = addressAt(args, 1);
  const tokens = integerAt(args, 3);
  const coordinates = integerAt(args, 4);
  const features = integerAt(args, 5);
  const parts = integerAt(args, 6);
  const end = min((task + 1) * TOKENS, tokens);
  // sine, cosine, sine, cosine
  const quarterTurns = i32x4(0, 1, 0, 1);
  for (let token = task * TOKENS; token < end; token++) {
    const source = addressAt(args, 0) + bytesOf(token * coordinates);
    let target = addressAt(args, 2) + bytesOf(token * parts * features);
    for (let part = 0; part < parts; part++) {
      const angle = f32x4.splat(load<f32>(source + bytesOf(integerAt(args, 7 + part))) * TWO_PI);
      for (let k = 0; k < features; k += 4) {
        const values = sineOfQuadrant(f32x4.div(angle, v128.load(wavelengths + bytesOf(k))), quarterTurns);
        if (k + 4 <= features) v128.store(target + bytesOf(k), values);
        else storePartial(target + bytesOf(k), values, features - k);
      }
      target += bytesOf(features);
    }
  }
}

// Arguments: rows [R, n], columns [R, n], out [B, h, w, 2 n], h, w, n. A task is a row of an item of the batch.
export function learnedPositions(args: usize, task: i32, _scratch: usize): void {
  const width = integerAt(args, 4);
  const features = integerAt(args, 5);
  const row = addressAt(args, 0) + bytesOf((task % integerAt(args, 3)) * features);
  let out = addressAt(args, 2) + bytesOf(task * width * features * 2);
  for (let column = 0; column < width; column++) {
    memory.copy(out, addressAt(args, 1) + bytesOf(column * features), bytesOf(features));
    memory.copy(out + bytesOf(features), row, bytesOf(features));
    out += bytesOf(features * 2);
  }
}
