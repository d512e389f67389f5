import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostTensor } from '../../engine/host-tensor.ts';
import { computeLoss, type LossConfig, type LossKind } from '../../models/losses/compute-loss.ts';
import type { ImageTargets, LayerPredictions } from '../../models/losses/matcher.ts';
import { openSafetensors } from '../../weights/safetensors-file.ts';
import { readTestJson, testData } from '../support/data.ts';

interface Dump {
  class: LossKind;
  atol: number;
  rtol: number;
  /** How far PyTorch's own float32 pass is from the float64 one. */
  float32_noise: Record<string, number>;
}

for (const name of [
  'detr-small-losses',
  'detr-panoptic-small-losses',
  'conditional-detr-small-losses',
  'deformable-detr-small-losses',
]) {
  test(`${name}: the losses PyTorch computed from these outputs`, async () => {
    const dump = readTestJson<Dump>('dumps', name, 'dump.json');
    const config = readTestJson<LossConfig>('dumps', name, 'config.json');
    const inputs = await openSafetensors(testData('dumps', name, 'inputs.safetensors'));
    const outputs = await openSafetensors(testData('dumps', name, 'outputs.safetensors'));
    const layer = async (prefix: string): Promise<LayerPredictions> => ({
      logits: await outputs.read(`${prefix}logits`),
      pred_boxes: await outputs.read(`${prefix}pred_boxes`),
    });
    const auxiliary: LayerPredictions[] = [];
    while (outputs.tensors.has(`auxiliary_outputs.${auxiliary.length}.logits`)) {
      auxiliary.push(await layer(`auxiliary_outputs.${auxiliary.length}.`));
    }
    const labels: ImageTargets[] = [];
    for (let image = 0; inputs.tensors.has(`labels.${image}.boxes`); image++) {
      const classes = await inputs.readNative(`labels.${image}.class_labels`);
      const masks = `labels.${image}.masks`;
      labels.push({
        classLabels: Array.from(classes.data as BigInt64Array, Number),
        boxes: await inputs.read(`labels.${image}.boxes`),
        ...(inputs.tensors.has(masks) && { masks: (await inputs.readNative(masks)) as HostTensor<Uint8Array> }),
      });
    }
    const predictions = {
      ...(await layer('')),
      ...(outputs.tensors.has('pred_masks') && { pred_masks: await outputs.read('pred_masks') }),
      auxiliary_outputs: auxiliary,
    };

    const { loss, lossDict } = computeLoss(dump.class, predictions, labels, config);
    const computed = Object.entries(lossDict).map(([key, value]) => [`loss_dict.${key}`, value] as const);
    const stored = [...outputs.tensors.keys()].filter(key => key.startsWith('loss'));
    assert.equal(['loss', ...computed.map(([key]) => key)].sort(), stored.sort());
    let worst = { share: -1, what: '' };
    for (const [key, value] of [['loss', loss] as const, ...computed]) {
      const expected = (await outputs.read(key)).data[0]!;
      const tolerance = Math.max(dump.atol, 4 * (dump.float32_noise[key] ?? 0)) + dump.rtol * Math.abs(expected);
      const difference = Math.abs(value - expected);
      const what = `${key}: ${value}, expected ${expected}, off by ${difference.toExponential(1)} within ${tolerance.toExponential(1)}`;
      assert.ok(difference <= tolerance, what);
      if (difference / tolerance > worst.share) worst = { share: difference / tolerance, what };
    }
    console.log(`${name}: ${computed.length + 1} values, worst ${worst.what}`);
    await inputs.close();
    await outputs.close();
  });
}

test.run();
