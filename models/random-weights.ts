import { elementCount } from '../engine/index.ts';
import { Random } from '../kernels/random.ts';
import { type HeadTying, matchCheckpoint, sharedHead, type WeightSource } from '../weights/index.ts';
import type { BaseConfig } from './configuration.ts';
import { initialValues } from './initializers.ts';
import type { Parameter } from './module.ts';

/*
 * Weights of models that are made from a configuration alone.
 */

/** Random values for every parameter, each from its own seed, so that reading order does not matter. Tied heads share one. */
export function randomSource(
  parameters: ReadonlyMap<string, Parameter>,
  config: BaseConfig,
  seed: number,
): WeightSource {
  const order = new Map([...parameters.keys()].map((name, index) => [name, index]));
  return {
    name: `random initialisation (seed ${seed})`,
    tensors: new Map([...parameters].map(([name, { shape }]) => [name, { shape, dtype: 'F32' }])),
    async read(name) {
      const { shape, initializer } = parameters.get(name)!;
      const random = new Random(Math.imul(seed, 0x9e3779b1) + order.get(sharedHead(name, config as HeadTying))!);
      return { shape, data: initialValues(initializer, elementCount(shape), random, config.init_std) };
    },
    async close() {},
  };
}

/** `base`, with the backbone's tensors out of a file of the backbone alone; a classifier's head beside it is not used. */
export function overlayBackbone(base: WeightSource, backbone: WeightSource): WeightSource {
  const wanted = [...base.tensors].filter(([name]) => name.includes('backbone.conv_encoder.model.'));
  const stored = matchCheckpoint(
    backbone,
    wanted.map(([name, { shape }]) => [name, shape] as const),
  );
  return {
    ...base,
    name: backbone.name,
    read: name => (stored.tensors.has(name) ? stored.read(name) : base.read(name)),
  };
}
