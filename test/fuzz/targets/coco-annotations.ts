import type { Image } from '../../../models/images/image.ts';
import type { ImageAnnotation } from '../../../models/processing/annotations.ts';
import { DetrImageProcessor } from '../../../models/processing/processors.ts';
import { jsonTarget } from '../json.ts';

const [height, width] = [30, 40];
const picture: Image = { height, width, channels: 3, data: new Uint8Array(height * width * 3).fill(1) };
const processor = new DetrImageProcessor({ size: { shortest_edge: 20, longest_edge: 33 } });

export const target = jsonTarget({
  seeds: () => [
    {
      image_id: 3,
      annotations: [
        {
          category_id: 1,
          bbox: [2, 3, 10.5, 8],
          area: 50.25,
          iscrowd: 0,
          segmentation: [[2, 3, 12.5, 3, 12.5, 11, 2, 11]],
          keypoints: [1, 2, 3],
        },
        {
          category_id: 2,
          bbox: [-2, 3, 100, 8],
          area: 5,
          segmentation: { size: [30, 40], counts: [10, 20, 1170] },
          keypoints: [4, 5, 6],
        },
      ],
    },
    {
      image_id: 4,
      annotations: [
        { category_id: 0, bbox: [0, 0, 1, 1], area: 1, iscrowd: 1, segmentation: { size: [30, 40], counts: 'PPYo0' } },
      ],
    },
    { image_id: 5, file_name: 'a.png', segments_info: [{ id: 65793, category_id: 7, iscrowd: 0, area: 1200 }] },
  ],
  words: [
    ...['image_id', 'annotations', 'category_id', 'bbox', 'area', 'iscrowd', 'segmentation', 'size', 'counts', 'id'],
    ...['keypoints', 'segments_info', 'file_name', '../x', 'PPYo0', 'oooooooo', ''],
  ],
  run: value => {
    const annotation = value as ImageAnnotation;
    const panoptic = typeof annotation === 'object' && annotation !== null && 'segments_info' in annotation;
    const { labels } = processor.preprocess(picture, {
      annotations: [annotation],
      returnSegmentationMasks: true,
      ...(panoptic ? { format: 'coco_panoptic', masks: [picture] } : {}),
    });
    for (const { classLabels, boxes, area, iscrowd, masks, size } of labels!) {
      const count = classLabels.data.length;
      const counts = [
        boxes.data.length / 4,
        area.data.length,
        iscrowd.data.length,
        masks!.data.length / (size[0] * size[1]),
      ];
      if (counts.some(other => other !== count)) throw new Error(`${count} labels with ${counts}`);
      if (masks!.data.some(value => value > 1)) throw new Error('a mask of more than ones');
    }
  },
});
