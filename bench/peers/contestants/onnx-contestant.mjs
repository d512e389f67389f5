/** What onnxruntime-node and onnxruntime-web have in common. */
export function onnxContestant(library, ort, sessionOptions, provider) {
  return {
    name: `${library}, ${provider}`,
    async prepare({ kind, input, onnx }) {
      const session = await ort.InferenceSession.create(onnx(), sessionOptions);
      const [inputName, outputName] = kind === 'detr' ? ['pixel_values', 'logits'] : ['x', 'y'];
      return async () => {
        const tensor = new ort.Tensor('float32', input.data, input.shape);
        const outputs = await session.run({ [inputName]: tensor });
        return outputs[outputName].data;
      };
    },
  };
}
