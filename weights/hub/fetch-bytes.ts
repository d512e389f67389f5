import { DownloadError } from '../../engine/errors.ts';
import { collectBytes } from '../bytes.ts';
import { sendRequest, withRetries } from './http.ts';
import { hubSettings } from './settings.ts';

const LONGEST_SHOWN_ADDRESS = 200;

/**
 * The content of a web address, in memory. It is asked for as the hub is: with retries, without a token.
 * @throws DownloadError when it cannot be had or has more than `maximumBytes`
 */
export async function fetchBytes(address: URL, maximumBytes: number): Promise<Uint8Array> {
  const what = `cannot download ${address.href.slice(0, LONGEST_SHOWN_ADDRESS)}`;
  const settings = hubSettings({ token: false, endpoint: address.origin });
  return withRetries(what, settings, async () => {
    const { status, headers, content, discard } = await sendRequest('GET', address.href, {}, settings);
    if (status !== 200) {
      discard();
      throw new DownloadError(`${what}: the server answered ${status}`);
    }
    const tooLong = new DownloadError(`${what}: expected at most ${maximumBytes} bytes, got more`);
    if (Number(headers.get('content-length')) > maximumBytes) {
      discard();
      throw tooLong;
    }
    const bytes = await collectBytes(content, maximumBytes);
    if (bytes === undefined) throw tooLong;
    return bytes;
  });
}
