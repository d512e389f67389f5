/**
 * Every error this package throws on purpose is a `DetrError`, so that callers can tell bad input and device trouble from
 * a bug. Messages read `where: expected …, got …`; file errors name the file, the tensor and the byte.
 */
export class DetrError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A tensor's shape, type or device does not fit the operation: `conv2d: expected …, got …`. */
export class ShapeError extends DetrError {}

/** An option, argument or command-line value is unknown or impossible. */
export class OptionError extends DetrError {}

/** A model or processor configuration is inconsistent or asks for something unknown. */
export class ConfigError extends DetrError {}

/** Where in a file an error lies. */
export interface FileLocation {
  readonly file: string;
  readonly tensor?: string;
  /** Byte offset from the start of the file. */
  readonly byte?: number;
}

/** A file is missing, damaged or not of the expected format. The message starts with the file's name. */
export class FileError extends DetrError {
  readonly location: FileLocation;

  constructor(location: FileLocation, message: string, options?: ErrorOptions) {
    const tensor = location.tensor === undefined ? '' : ` tensor "${location.tensor}":`;
    const byte = location.byte === undefined ? '' : ` (at byte ${location.byte})`;
    super(`${shortened(location.file)}:${tensor} ${message}${byte}`, options);
    this.location = location;
  }
}

/** Longer than any file system takes: not a name but, say, a file's contents. */
const LONGEST_NAME = 4096;

const shortened = (name: string) => (name.length > LONGEST_NAME ? `${name.slice(0, 100)}…` : name);

/** A model cannot be fetched from the hub, or is not in the cache while offline. */
export class DownloadError extends DetrError {}

/** A device cannot be created, failed, or was used wrongly. */
export class DeviceError extends DetrError {}

/** The device has no memory left for an allocation. */
export class OutOfMemoryError extends DeviceError {}

/** The device is gone (adapter lost, worker died, `destroy()` called). Create a new one. */
export class DeviceLostError extends DeviceError {}

/** A WGSL shader does not compile; the message shows the shader's lines. */
export class ShaderError extends DeviceError {}
