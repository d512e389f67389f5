import { OptionError } from '../../engine/index.ts';
import type { CocoCategory } from '../../models/evaluation/coco-format.ts';

/** A model whose labels have no names of their own: transformers' numbered ones. */
const isNumbered = (name: string) => /^LABEL_\d+$/.test(name);

/**
 * Finds out which category each label of a model stands for: that of its id, as in the published checkpoints, unless the
 * names show that the model was trained with other ids (of fine-tuned models they often begin at 0), which is said on
 * standard error.
 * @returns category ids by label, without the labels that the data set does not know
 * @throws OptionError when neither ids nor names fit
 */
export function matchCategories(
  names: Readonly<Record<number, string>>,
  categories: readonly CocoCategory[],
): ReadonlyMap<number, number> {
  const labels = Object.keys(names).map(Number);
  const nameOf = (label: number) => normalized(names[label]!);
  const known = categories.filter(({ id }) => names[id] !== undefined);
  const agreeing = known.filter(({ id, name }) => nameOf(id) === normalized(name));
  const unnamed = labels.every(label => isNumbered(names[label]!));
  const labelNames = new Set(labels.map(nameOf));
  const elsewhere = categories.filter(category => {
    return !agreeing.includes(category) && labelNames.has(normalized(category.name));
  });
  if (elsewhere.length === 0 && (agreeing.length > 0 || (unnamed && known.length > 0))) {
    return new Map(known.map(({ id }) => [id, id]));
  }
  const idOf = new Map(categories.map(({ id, name }) => [normalized(name), id]));
  if (idOf.size === categories.length && categories.every(({ name }) => labelNames.has(normalized(name)))) {
    const matching = labels.filter(label => idOf.has(nameOf(label)));
    process.stderr.write('labels and categories differ in their ids and are matched by their names\n');
    return new Map(matching.map(label => [label, idOf.get(nameOf(label))!]));
  }
  const odd = categories.find(category => !agreeing.includes(category));
  const got = odd === undefined ? 'none' : `category ${odd.id} ${JSON.stringify(odd.name)}, ${inModel(odd, names)}`;
  throw new OptionError(
    `--annotations: expected categories with the ids or with the names of the model's labels, got ${got}`,
  );
}

function inModel({ id }: CocoCategory, names: Readonly<Record<number, string>>): string {
  const name = names[id];
  return name === undefined
    ? `where the model has no label ${id}`
    : `where the model's label ${id} is ${JSON.stringify(name)}`;
}

const normalized = (name: string) => name.trim().toLowerCase();
