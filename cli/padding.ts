// B batch, Q queries, K classes, H x W the padded input, h x w the masks of the whole padded input
import type { HostTensor } from '../engine/index.ts';
import type { Image } from '../models/images/image.ts';
import type { SegmentationOutputs } from '../models/processing/segmentation.ts';

/** The outputs for one picture of a batch, as if it had not been padded. */
export interface PictureOutputs {
  /** Batch 1; the masks end where the picture does, or less than one mask pixel below and right of it. */
  readonly outputs: SegmentationOutputs;
  /** The size of these masks in pixels of the picture: its own size, or a little more. */
  readonly targetSizes: readonly [readonly [height: number, width: number]];
  /** Cuts a map of the target size to the picture. */
  readonly crop: (map: HostTensor<Int32Array>) => HostTensor<Int32Array>;
}

/**
 * Takes a batch of segmentation outputs apart. A processor with a `pad_size` pads pictures at the bottom and right, and their
 * masks show the padding as well; HuggingFace's post-processors stretch all of it over the picture, which is right only
 * for a picture without padding.
 */
export function withoutPadding(
  { logits, pred_masks: masks }: SegmentationOutputs,
  pixelMask: HostTensor<Int32Array> | undefined,
  pictures: readonly Image[],
): PictureOutputs[] {
  const [, queries, columns] = logits.shape as [number, number, number];
  const [, , maskHeight, maskWidth] = masks.shape as [number, number, number, number];
  return pictures.map((picture, index) => {
    const real = realSize(pixelMask, index);
    const rows = extent(real.height, real.paddedHeight, maskHeight, picture.height);
    const width = extent(real.width, real.paddedWidth, maskWidth, picture.width);
    const cropped = new Float32Array(queries * rows.maskPixels * width.maskPixels);
    for (let query = 0; query < queries; query++) {
      for (let row = 0; row < rows.maskPixels; row++) {
        const from = ((index * queries + query) * maskHeight + row) * maskWidth;
        const to = (query * rows.maskPixels + row) * width.maskPixels;
        cropped.set(masks.data.subarray(from, from + width.maskPixels), to);
      }
    }
    const ownLogits = logits.data.subarray(index * queries * columns, (index + 1) * queries * columns);
    return {
      outputs: {
        logits: { shape: [1, queries, columns], data: ownLogits },
        pred_masks: { shape: [1, queries, rows.maskPixels, width.maskPixels], data: cropped },
      },
      targetSizes: [[rows.picturePixels, width.picturePixels]],
      crop: map => cropMap(map, picture.height, picture.width),
    };
  });
}

/** How many mask pixels a picture's side takes, and how many of its own pixels they are. */
function extent(
  real: number,
  padded: number,
  mask: number,
  picture: number,
): { maskPixels: number; picturePixels: number } {
  const maskPixels = Math.min(mask, Math.ceil((real * mask) / padded));
  const inputPixels = (maskPixels * padded) / mask;
  return { maskPixels, picturePixels: Math.max(picture, Math.round((inputPixels * picture) / real)) };
}

/** The size of a resized picture within its padded input [H, W], from the mask of real pixels [B, H, W]. */
function realSize(pixelMask: HostTensor<Int32Array> | undefined, index: number) {
  if (pixelMask === undefined) return { height: 1, width: 1, paddedHeight: 1, paddedWidth: 1 };
  const [, paddedHeight, paddedWidth] = pixelMask.shape as [number, number, number];
  const start = index * paddedHeight * paddedWidth;
  let height = 0;
  let width = 0;
  while (height < paddedHeight && pixelMask.data[start + height * paddedWidth] === 1) height++;
  while (width < paddedWidth && pixelMask.data[start + width] === 1) width++;
  return { height, width, paddedHeight, paddedWidth };
}

function cropMap({ shape, data }: HostTensor<Int32Array>, height: number, width: number): HostTensor<Int32Array> {
  const [, rowLength] = shape as [number, number];
  const cropped = new Int32Array(height * width);
  for (let row = 0; row < height; row++) {
    cropped.set(data.subarray(row * rowLength, row * rowLength + width), row * width);
  }
  return { shape: [height, width], data: cropped };
}
