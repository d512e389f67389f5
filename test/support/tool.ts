import { describeOptions, type Options, parseCommandLine, type Values } from '../../cli/options.ts';
import { OptionError } from '../../engine/errors.ts';

/** The options of a tool of this repository. Prints help, or what is wrong, and ends the process where that is called for. */
export function toolOptions<const From extends Options>(command: string, options: From): Values<From> {
  const usage = `usage: ${command} [options]\n\nOptions:\n${describeOptions(options, 100)}`;
  try {
    const { values, positionals, help } = parseCommandLine(process.argv.slice(2), options);
    if (positionals.length > 0) throw new OptionError(`expected only options, got ${positionals.join(' ')}`);
    if (!help) return values;
    console.log(usage);
    process.exit(0);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    console.error(`${error.message}\n\n${usage}`);
    process.exit(2);
  }
}
