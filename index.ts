// The package's public names.

export { type ReadImageOptions, readImage, readImageSync, writePng } from './models/images/files.ts';
export { type Image, toRgb } from './models/images/image.ts';
export { encodePng } from './models/images/png.ts';
export { type ResampleFilter, resize, resizeTorchvision, type TorchvisionFilter } from './models/images/resize.ts';
