/** Invocations per workgroup of kernels that give each invocation its own outputs. */
export const FLAT_WORKGROUP = 64;

const MAXIMUM_WORKGROUPS = 65_535;

/** Workgroups for `invocations` independent invocations, in two dimensions where one cannot hold them. */
export function flatWorkgroups(invocations: number): readonly [number, number, number] {
  const groups = Math.ceil(invocations / FLAT_WORKGROUP);
  if (groups <= MAXIMUM_WORKGROUPS) return [groups, groups === 0 ? 0 : 1, 1];
  const rows = Math.ceil(groups / MAXIMUM_WORKGROUPS);
  return [Math.ceil(groups / rows), rows, 1];
}

/**
 * The entry point of a shader whose invocations are numbered by `index`: `body` runs for those below `count`, an
 * expression.
 */
export function flatMain(count: string, body: string): string {
  return /* wgsl */ `
@compute @workgroup_size(${FLAT_WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.y * groups.x * ${FLAT_WORKGROUP}u + id.x;
  if (index >= ${count}) { return; }
${body}
}
`;
}
