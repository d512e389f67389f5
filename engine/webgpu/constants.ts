// The specification's flag values. Browsers have them as globals, Node has not.
export const BUFFER_USAGE = {
  mapRead: 0x0001,
  mapWrite: 0x0002,
  copySource: 0x0004,
  copyDestination: 0x0008,
  uniform: 0x0040,
  storage: 0x0080,
  queryResolve: 0x0200,
} as const;

export const MAP_MODE_READ = 0x0001;
export const MAP_MODE_WRITE = 0x0002;
export const SHADER_STAGE_COMPUTE = 0x4;
