import type { StoredName } from '../../../weights/names.ts';

// The way from hub names back to the original repositories', written down from their model definitions and independently of
// the rules under test: https://github.com/facebookresearch/detr, Atten4Vis/ConditionalDETR, fundamentalvision/Deformable-DETR.

/** What the original repository of a published variant calls the tensor of that hub name. */
export function originalNameOf(hubName: string, variant: string): StoredName {
  const isSegmentation = /^(detr|conditional_detr)\./.test(hubName);
  const name = hubName.replace(/^(detr|conditional_detr)\./, '');
  if (/^(mask_head|bbox_attention)\./.test(name)) return { name };
  const stored = name.startsWith('model.') ? inModel(name.slice('model.'.length), variant) : { name: headName(name) };
  return isSegmentation ? { ...stored, name: `detr.${stored.name}` } : stored;
}

function headName(name: string): string {
  return name.replace(/^class_labels_classifier/, 'class_embed').replace(/^bbox_predictor/, 'bbox_embed');
}

const single: Readonly<Record<string, string>> = {
  'query_position_embeddings.weight': 'query_embed.weight',
  'backbone.position_embedding.row_embeddings.weight': 'backbone.1.row_embed.weight',
  'backbone.position_embedding.column_embeddings.weight': 'backbone.1.col_embed.weight',
};

function inModel(name: string, variant: string): StoredName {
  const backbone = 'backbone.conv_encoder.model.';
  if (single[name] !== undefined) return { name: single[name] };
  if (name.startsWith(backbone)) return { name: `backbone.0.body.${name.slice(backbone.length)}` };
  if (name.startsWith('input_proj')) return { name: name.replace('input_projection', 'input_proj') };
  const layer = /^(encoder|decoder)\.layers\.(\d+)\.([a-z_0-9]+)\.(.+)$/.exec(name);
  if (layer === null) return { name: `transformer.${name.replace('decoder.layernorm', 'decoder.norm')}` };

  const [, stack, index, module, rest] = layer as unknown as [string, string, string, string, string];
  const prefix = `transformer.${stack}.layers.${index}`;
  if (module.endsWith('_layer_norm')) return { name: `${prefix}.${normName(stack, module, variant)}.${rest}` };
  if (module.startsWith('fc')) return { name: `${prefix}.${module.replace('fc', 'linear')}.${rest}` };
  if (module !== 'self_attn' && module !== 'encoder_attn') return { name: `${prefix}.${module}.${rest}` };

  const crossAttention = variant.startsWith('detr') ? 'multihead_attn' : 'cross_attn';
  const attention = module === 'self_attn' ? 'self_attn' : crossAttention;
  const projection = /^([qkv])_proj\.(weight|bias)$/.exec(rest);
  if (projection === null) return { name: `${prefix}.${attention}.${rest}` };
  const part = { index: 'qkv'.indexOf(projection[1]!), of: 3 };
  return { name: `${prefix}.${attention}.in_proj_${projection[2]}`, part };
}

/** Norms are numbered in the order of the forward pass; Deformable DETR's decoder was written cross attention first. */
function normName(stack: string, module: string, variant: string): string {
  const encoder = ['self_attn_layer_norm', 'final_layer_norm'];
  const decoder = variant.startsWith('deformable')
    ? ['encoder_attn_layer_norm', 'self_attn_layer_norm', 'final_layer_norm']
    : ['self_attn_layer_norm', 'encoder_attn_layer_norm', 'final_layer_norm'];
  return `norm${(stack === 'encoder' ? encoder : decoder).indexOf(module) + 1}`;
}
