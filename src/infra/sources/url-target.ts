/** From a source to the address that is asked, its secrets kept apart from what people see. */
import type { UrlSource } from '../../core/uploads.js';
import { fail, type Target } from './url-http.js';

export async function targetOf(
  source: UrlSource,
  unseal: (ref: string) => Promise<string>,
  op: string,
): Promise<Target> {
  const shown = parseAddress(source.url, op, 'the address');
  const label = shown.origin + shown.pathname;
  if (shown.search !== '' || shown.username !== '' || shown.password !== '') {
    throw fail('SourceInvalid', 'an address with a query or credentials must be sealed', op, label);
  }
  const address = source.sealed === undefined ? shown : parseAddress(await unseal(source.sealed), op, label);
  if (address.origin + address.pathname !== label) {
    throw fail('SourceInvalid', 'the sealed address is another one', op, label);
  }
  const authorization = basicAuthorization(address);
  address.username = '';
  address.password = '';
  address.hash = '';
  return { label, address, authorization };
}

/** Errors of URL carry their whole input, secrets too: none is passed on. */
function parseAddress(text: string, op: string, label: string): URL {
  if (!URL.canParse(text)) throw fail('SourceInvalid', 'is not a valid address', op, label);
  const address = new URL(text);
  if (address.protocol !== 'http:' && address.protocol !== 'https:') {
    throw fail(
      'SourceNotAllowed',
      `the scheme ${address.protocol} is not fetched, only http: and https:`,
      op,
      label,
    );
  }
  return address;
}

function basicAuthorization({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  return `Basic ${Buffer.from(`${decode(username)}:${decode(password)}`).toString('base64')}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    // A lone % that was meant as one.
    if (error instanceof URIError) return text;
    throw error;
  }
}
