import { OptionError } from '../../engine/errors.ts';

/** Boxes as rows of (centre x, centre y, width, height); only the numbers matter, the shape is [N, 4] flattened. */
export type Boxes = ArrayLike<number>;

/** Σ |a - b| over the four coordinates of box `a` of `boxes` and box `b` of `others`. */
export function boxDistance(boxes: Boxes, a: number, others: Boxes, b: number): number {
  let distance = 0;
  for (let coordinate = 0; coordinate < 4; coordinate++) {
    distance += Math.abs(boxes[4 * a + coordinate]! - others[4 * b + coordinate]!);
  }
  return distance;
}

/**
 * Generalised intersection over union of box `a` of `boxes` and box `b` of `others`, in [-1, 1] (https://giou.stanford.edu): the
 * overlap, less the part of the enclosing box that neither covers. NaN for two boxes without area, as in the reference.
 */
export function generalizedBoxIou(boxes: Boxes, a: number, others: Boxes, b: number): number {
  const [left, top, right, bottom] = corners(boxes, a);
  const [otherLeft, otherTop, otherRight, otherBottom] = corners(others, b);
  const intersection =
    Math.max(0, Math.min(right, otherRight) - Math.max(left, otherLeft)) *
    Math.max(0, Math.min(bottom, otherBottom) - Math.max(top, otherTop));
  const union = (right - left) * (bottom - top) + (otherRight - otherLeft) * (otherBottom - otherTop) - intersection;
  const enclosing =
    (Math.max(right, otherRight) - Math.min(left, otherLeft)) *
    (Math.max(bottom, otherBottom) - Math.min(top, otherTop));
  return intersection / union - (enclosing - union) / enclosing;
}

/** Throws an OptionError that names the first box of negative or undefined extent. */
export function requireValidBoxes(name: string, boxes: Boxes): void {
  for (let box = 0; 4 * box < boxes.length; box++) {
    const [left, top, right, bottom] = corners(boxes, box);
    if (!(right >= left && bottom >= top)) {
      const values = [0, 1, 2, 3].map(coordinate => boxes[4 * box + coordinate]);
      throw new OptionError(
        `${name}: expected boxes [centre x, centre y, width, height] of width and height ≥ 0, got [${values.join(', ')}] at ${box}`,
      );
    }
  }
}

function corners(boxes: Boxes, box: number): [left: number, top: number, right: number, bottom: number] {
  const x = boxes[4 * box]!;
  const y = boxes[4 * box + 1]!;
  const halfWidth = 0.5 * boxes[4 * box + 2]!;
  const halfHeight = 0.5 * boxes[4 * box + 3]!;
  return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
}
