// args: a, b, out, count
const CHUNK: i32 = 16384;

export function add(args: usize, task: i32, _scratch: usize): void {
  const a = <usize>load<u32>(args);
  const b = <usize>load<u32>(args + 4);
  const out = <usize>load<u32>(args + 8);
  const count = load<i32>(args + 12);
  const start = task * CHUNK;
  const end = min(start + CHUNK, count);
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const offset = (<usize>i) << 2;
    v128.store(out + offset, f32x4.add(v128.load(a + offset), v128.load(b + offset)));
  }
  for (; i < end; i++) {
    const offset = (<usize>i) << 2;
    store<f32>(out + offset, load<f32>(a + offset) + load<f32>(b + offset));
  }
}
