// Which stored tensor is meant by a name. Checkpoints of one model are written in several dialects: HuggingFace's hub naming
// (the canonical one, transformers 4), its ResNet's naming of the backbone, transformers 5's names in memory, and the names
// of the original DETR, Conditional DETR and Deformable DETR repositories.
//
// Every name, wanted or stored, is brought to one form by at most one exact rule below, and equal forms match.

/** What a configuration says about Deformable DETR's prediction heads; other models' configurations may be passed too. */
export interface HeadTying {
  /** Without it all layers share head 0. Default false. */
  readonly with_box_refine?: boolean | undefined;
  readonly two_stage?: boolean | undefined;
  /** transformers 5 ties a missing `class_embed.i` to `class_embed.0` unless this is false. Default true. */
  readonly tie_word_embeddings?: boolean | undefined;
}

/** A stored tensor, or one of its equal parts along the first axis. */
export interface StoredName {
  readonly name: string;
  readonly part?: { readonly index: number; readonly of: number };
}

export interface ResolvedNames {
  /** Where each wanted tensor lies. */
  readonly found: ReadonlyMap<string, StoredName>;
  /** Wanted names that nothing stands for. */
  readonly missing: readonly string[];
  /** Stored names that were neither wanted nor copies of what was, nor of no use to anybody (batch counters, classifiers). */
  readonly unused: readonly string[];
}

/**
 * Finds every wanted tensor among the available ones, whichever dialect either is named in. Prefixes of wrapping classes
 * (`model.`, `detr.model.`, `conditional_detr.model.`, `module.`) may differ, so that a model without heads or with more
 * heads loads from the same file.
 */
export function resolveNames(
  wanted: Iterable<string>,
  available: Iterable<string>,
  config: HeadTying = {},
): ResolvedNames {
  const wantedNames = [...wanted];
  const stored = [...available].filter(name => !ignored.test(name));
  const targetsOfStored = canonicalNames(stored);
  const targetsOfWanted = canonicalNames(wantedNames);

  const holders = new Map<string, StoredName>();
  for (const name of stored) {
    const targets = targetsOfStored.get(name)!;
    for (const [index, target] of targets.entries()) {
      if (holders.has(target)) continue;
      holders.set(target, targets.length === 1 ? { name } : { name, part: { index, of: targets.length } });
    }
  }

  const found = new Map<string, StoredName>();
  const missing: string[] = [];
  const used = new Set<string>();
  for (const name of wantedNames) {
    const target = targetsOfWanted.get(name)![0]!;
    used.add(sharedHead(target, config));
    const holder = headCandidates(target, config)
      .map(candidate => holders.get(candidate))
      .find(candidate => candidate !== undefined);
    if (holder !== undefined) found.set(name, holder);
    else if (!ignored.test(name)) missing.push(name);
  }
  const isUsed = (name: string) =>
    targetsOfStored
      .get(name)!
      .some(target => holders.get(target)!.name === name && used.has(sharedHead(target, config)));
  return { found, missing, unused: stored.filter(name => !isUsed(name)) };
}

/**
 * How a hub checkpoint would name the tensors of one checkpoint: what each stored name stands for. Batch counters and other
 * leftovers are left out. Heads that are stored a second time for the decoder stay there too: transformers 4 reads those at
 * the top, transformers 5 those of the decoder. The backbone keeps HuggingFace's ResNet names where it has them, as its
 * configuration says so.
 */
export function hubNames(names: Iterable<string>): ReadonlyMap<string, StoredName> {
  const stored = [...names].filter(name => !ignored.test(name));
  const targetsOfStored = canonicalNames(
    stored,
    dialects.filter(dialect => dialect !== huggingFaceResNet),
  );
  const targets = [...targetsOfStored.values()].flat();
  const prefix = targets.some(name => segmentationHead.test(name))
    ? targets.some(name => conditionalLayer.test(name))
      ? 'conditional_detr.'
      : 'detr.'
    : '';
  const result = new Map<string, StoredName>();
  for (const name of stored) {
    const parts = targetsOfStored.get(name)!;
    for (const [index, target] of parts.entries()) {
      const wrapped = topLevelHead.test(target) ? target : `model.${target}`;
      const hubName = segmentationHead.test(target) ? target : prefix + wrapped;
      if (result.has(hubName)) continue;
      result.set(hubName, parts.length === 1 ? { name } : { name, part: { index, of: parts.length } });
    }
  }
  return result;
}

const maskHeads = 'mask_head|bbox_attention';
const heads = `class_labels_classifier|bbox_predictor|class_embed|bbox_embed|${maskHeads}`;

const segmentationHead = new RegExp(`^(?:${maskHeads})\\.`);
const topLevelHead = new RegExp(`^(?:${heads})\\.`);
/** A prediction head's tensor, in any dialect and below any prefix. */
export const anyHead = new RegExp(`(?:^|\\.)(?:${heads})\\.`);
/** A tensor of the head that a segmentation model has beside its detector, below any prefix. */
export const maskHead = new RegExp(`(?:^|\\.)(?:${maskHeads})\\.`);
const conditionalLayer = /^decoder\.layers\.0\.sa_qcontent_proj\./;

/** The hub name of a tensor without the wrapping class's prefix, for each name of one checkpoint. */
function canonicalNames(
  names: readonly string[],
  among: readonly Dialect[] = dialects,
): ReadonlyMap<string, readonly string[]> {
  const bare = names.map(name => name.replace(wrappingPrefix, ''));
  const spoken = among.filter(({ spokenIf }) => bare.some(name => spokenIf.test(name)));
  const renames = spoken.flatMap(dialect => dialect.renames);
  return new Map(names.map((name, i) => [name, applyFirst(renames, bare[i]!)]));
}

function applyFirst(renames: readonly Rename[], name: string): readonly string[] {
  for (const { pattern, targets } of renames) {
    if (pattern.test(name)) return targets.map(target => name.replace(pattern, target));
  }
  return [name];
}

/** Of the classes around a model, and of what trainers wrap it in. */
const wrappingPrefix = /^(?:(?:module|model|detr|conditional_detr|base_model|_orig_mod|_fsdp_wrapped_module)\.)*/;

/** Training leftovers, and the classifier of a backbone, in a file of its own or within the model. */
const ignored =
  /\.(?:num_batches_tracked|position_ids)$|(?:^|\.)criterion\.|(?:^|\.(?:model|body)\.)fc\.(?:weight|bias)$|^(?:classifier|classifier\.1|conv_head)\.(?:weight|bias)$/;

/** A whole name's pattern, and the name (or the names of the equal parts) it stands for. */
interface Rename {
  readonly pattern: RegExp;
  readonly targets: readonly string[];
}

interface Dialect {
  /** A name that only occurs in checkpoints of this dialect; the first dialect that knows a name decides. */
  readonly spokenIf: RegExp;
  readonly renames: readonly Rename[];
}

function rename(pattern: string, ...targets: string[]): Rename {
  return { pattern: new RegExp(`^${pattern}$`), targets };
}

const anyName = /^/;
const parameter = '(weight|bias)';
/** `$1` stack, `$2` layer. */
const anyLayer = '(encoder|decoder)\\.layers\\.(\\d+)';
const backbone = 'backbone.conv_encoder.model';
/** HuggingFace in versions 4 and 5, the original repositories, a bare ResNet of HuggingFace, a bare one of timm or torchvision. */
const backbonePrefix = '(?:backbone\\.(?:conv_encoder\\.)?model\\.|backbone\\.0\\.body\\.|resnet\\.)?';

const huggingFaceResNet: Dialect = {
  spokenIf: /embedder\.embedder\.convolution\.weight$/,
  renames: [
    rename(`${backbonePrefix}embedder\\.embedder\\.convolution\\.weight`, `${backbone}.conv1.weight`),
    rename(`${backbonePrefix}embedder\\.embedder\\.normalization\\.(\\w+)`, `${backbone}.bn1.$1`),
    ...[0, 1, 2, 3].flatMap(stage => {
      const block = `${backbonePrefix}encoder\\.stages\\.${stage}\\.layers\\.(\\d+)`;
      const target = `${backbone}.layer${stage + 1}.$1`;
      return [
        rename(`${block}\\.shortcut\\.convolution\\.weight`, `${target}.downsample.0.weight`),
        rename(`${block}\\.shortcut\\.normalization\\.(\\w+)`, `${target}.downsample.1.$2`),
        ...[0, 1, 2].flatMap(layer => [
          rename(`${block}\\.layer\\.${layer}\\.convolution\\.weight`, `${target}.conv${layer + 1}.weight`),
          rename(`${block}\\.layer\\.${layer}\\.normalization\\.(\\w+)`, `${target}.bn${layer + 1}.$2`),
        ]),
      ];
    }),
  ],
};

const anyBackbone: Dialect = {
  spokenIf: anyName,
  renames: [
    rename(`${backbonePrefix}((?:conv1|bn1|layer[1-4]|conv_stem|blocks)\\..+)`, `${backbone}.$1`),
    rename('backbone\\.(?:(?:conv_encoder\\.)?model|0\\.body)\\.(.+)', `${backbone}.$1`),
    rename('position_embedding\\.(row|column)_embeddings\\.weight', 'backbone.position_embedding.$1_embeddings.weight'),
    rename('backbone\\.1\\.row_embed\\.weight', 'backbone.position_embedding.row_embeddings.weight'),
    rename('backbone\\.1\\.col_embed\\.weight', 'backbone.position_embedding.column_embeddings.weight'),
  ],
};

const version5: Dialect = {
  spokenIf: anyName,
  renames: [
    rename(`${anyLayer}\\.mlp\\.(fc[12])\\.${parameter}`, '$1.layers.$2.$3.$4'),
    rename(`${anyLayer}\\.(self_attn|encoder_attn)\\.o_proj\\.${parameter}`, '$1.layers.$2.$3.out_proj.$4'),
    rename(`bbox_attention\\.([qk])_proj\\.${parameter}`, 'bbox_attention.$1_linear.$2'),
    rename(`mask_head\\.output_conv\\.${parameter}`, 'mask_head.out_lay.$1'),
    ...[1, 2].flatMap(block => [
      rename(`mask_head\\.conv${block}\\.conv\\.${parameter}`, `mask_head.lay${block}.$1`),
      rename(`mask_head\\.conv${block}\\.norm\\.${parameter}`, `mask_head.gn${block}.$1`),
    ]),
    ...[0, 1, 2].flatMap(stage => [
      rename(`mask_head\\.fpn_stages\\.${stage}\\.fpn_adapter\\.${parameter}`, `mask_head.adapter${stage + 1}.$1`),
      rename(`mask_head\\.fpn_stages\\.${stage}\\.refine\\.conv\\.${parameter}`, `mask_head.lay${stage + 3}.$1`),
      rename(`mask_head\\.fpn_stages\\.${stage}\\.refine\\.norm\\.${parameter}`, `mask_head.gn${stage + 3}.$1`),
    ]),
  ],
};

/** Here `self_attn.v_proj` is Conditional DETR's; in every other dialect it is DETR's own. */
const version5Conditional: Dialect = {
  spokenIf: /^decoder\.layers\.0\.self_attn\.q_content_proj\./,
  renames: [
    ...[
      ['self_attn', 'sa'],
      ['encoder_attn', 'ca'],
    ].flatMap(([module, short]) => [
      rename(
        `decoder\\.layers\\.(\\d+)\\.${module}\\.([qk])_(content|pos|pos_sine)_proj\\.${parameter}`,
        `decoder.layers.$1.${short}_$2$3_proj.$4`,
      ),
      rename(`decoder\\.layers\\.(\\d+)\\.${module}\\.v_proj\\.${parameter}`, `decoder.layers.$1.${short}_v_proj.$2`),
    ]),
  ],
};

/** Deformable DETR's decoder attends to the image first: its norm1 follows the encoder attention. */
const originalDeformable: Dialect = {
  spokenIf: /^transformer\.encoder\.layers\.0\.self_attn\.sampling_offsets\./,
  renames: [
    rename(
      `transformer\\.decoder\\.layers\\.(\\d+)\\.norm1\\.${parameter}`,
      'decoder.layers.$1.encoder_attn_layer_norm.$2',
    ),
    rename(
      `transformer\\.decoder\\.layers\\.(\\d+)\\.norm2\\.${parameter}`,
      'decoder.layers.$1.self_attn_layer_norm.$2',
    ),
  ],
};

/** PyTorch keeps query, key and value projection in one tensor, in this order. */
const projections = ['q_proj', 'k_proj', 'v_proj'];

const original: Dialect = {
  spokenIf: /^transformer\./,
  renames: [
    rename(
      `transformer\\.encoder\\.layers\\.(\\d+)\\.norm1\\.${parameter}`,
      'encoder.layers.$1.self_attn_layer_norm.$2',
    ),
    rename(`transformer\\.encoder\\.layers\\.(\\d+)\\.norm2\\.${parameter}`, 'encoder.layers.$1.final_layer_norm.$2'),
    rename(
      `transformer\\.decoder\\.layers\\.(\\d+)\\.norm1\\.${parameter}`,
      'decoder.layers.$1.self_attn_layer_norm.$2',
    ),
    rename(
      `transformer\\.decoder\\.layers\\.(\\d+)\\.norm2\\.${parameter}`,
      'decoder.layers.$1.encoder_attn_layer_norm.$2',
    ),
    rename(`transformer\\.decoder\\.layers\\.(\\d+)\\.norm3\\.${parameter}`, 'decoder.layers.$1.final_layer_norm.$2'),
    rename(
      `transformer\\.${anyLayer}\\.self_attn\\.in_proj_${parameter}`,
      ...projections.map(projection => `$1.layers.$2.self_attn.${projection}.$3`),
    ),
    rename(
      `transformer\\.${anyLayer}\\.multihead_attn\\.in_proj_${parameter}`,
      ...projections.map(projection => `$1.layers.$2.encoder_attn.${projection}.$3`),
    ),
    rename(`transformer\\.${anyLayer}\\.(?:multihead_attn|cross_attn)\\.(.+)`, '$1.layers.$2.encoder_attn.$3'),
    rename(`transformer\\.${anyLayer}\\.linear([12])\\.${parameter}`, '$1.layers.$2.fc$3.$4'),
    rename(`transformer\\.decoder\\.norm\\.${parameter}`, 'decoder.layernorm.$1'),
    rename('transformer\\.(.+)', '$1'),
    rename(`input_proj\\.${parameter}`, 'input_projection.$1'),
    rename('query_embed\\.weight', 'query_position_embeddings.weight'),
    rename(`class_embed\\.${parameter}`, 'class_labels_classifier.$1'),
    rename(`bbox_embed\\.layers\\.(\\d+)\\.${parameter}`, 'bbox_predictor.layers.$1.$2'),
  ],
};

const dialects: readonly Dialect[] = [
  huggingFaceResNet,
  anyBackbone,
  version5,
  version5Conditional,
  originalDeformable,
  original,
];

// Deformable DETR's heads are stored as `class_embed.i` / `bbox_embed.i`, as the decoder's `decoder.….i`, or both, and when
// all layers share one head, once or once per layer.
const head = /^(?:decoder\.)?(class_embed|bbox_embed)\.(\d+)\.(.+)$/;

/** Names under which a tensor may be stored, the preferred one first. */
function headCandidates(name: string, config: HeadTying): string[] {
  const match = head.exec(name);
  if (match === null) return [name];
  const [, kind, index, rest] = match;
  const spellings = (layer: string) => [`${kind}.${layer}.${rest}`, `decoder.${kind}.${layer}.${rest}`];
  const isShared = !config.with_box_refine;
  const isTiedWhenMissing = kind === 'class_embed' && !config.two_stage && config.tie_word_embeddings !== false;
  return [...spellings(index!), ...(isShared || isTiedWhenMissing ? spellings('0') : [])];
}

/** One name for all copies of one of Deformable DETR's heads; other names stay. */
export function sharedHead(name: string, config: HeadTying): string {
  return name.replace(head, config.with_box_refine ? '$1.$2.$3' : '$1.0.$3');
}
