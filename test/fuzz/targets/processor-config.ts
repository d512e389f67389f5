import { DetrImageProcessor } from '../../../models/processing/processors.ts';
import type { ProcessorConfig } from '../../../models/processing/settings.ts';
import { jsonTarget } from '../json.ts';

const picture = { width: 9, height: 7, channels: 3, data: new Uint8Array(9 * 7 * 3) };

export const target = jsonTarget({
  seeds: () => [
    {
      feature_extractor_type: 'DetrFeatureExtractor',
      size: 30,
      max_size: 50,
      image_mean: [0.4, 0.4, 0.4],
      image_std: [1, 2, 3],
    },
    {
      size: { shortest_edge: 20, longest_edge: 33 },
      resample: 2,
      do_pad: true,
      pad_size: { height: 40, width: 40 },
    },
    {
      size: { height: 5, width: 6 },
      do_rescale: false,
      do_normalize: false,
      rescale_factor: 0.0039,
      format: 'coco_panoptic',
    },
    { size: [7, 8], resample: 5, do_convert_annotations: null, image_mean: 0.5, image_std: 0.25 },
    { size: { max_height: 12, max_width: 11 }, pad_and_return_pixel_mask: false },
  ],
  words: [
    ...['size', 'max_size', 'shortest_edge', 'longest_edge', 'height', 'width', 'max_height', 'max_width', 'pad_size'],
    ...['do_pad', 'do_resize', 'do_normalize', 'do_rescale', 'rescale_factor', 'image_mean', 'image_std', 'resample'],
    ...['bilinear', 'lanczos', 'format', 'coco_panoptic', 'do_convert_annotations', 'pad_and_return_pixel_mask'],
  ],
  run: config => {
    const { pixelValues, pixelMask } = new DetrImageProcessor(config as ProcessorConfig).preprocess(picture);
    const [, channels, height, width] = pixelValues.shape as [number, number, number, number];
    if (channels !== 3 || pixelValues.data.length !== 3 * height * width) throw new Error(`shape ${pixelValues.shape}`);
    if (pixelMask !== undefined && pixelMask.data.length !== height * width) throw new Error(`mask ${pixelMask.shape}`);
  },
});
