/** Finds secrets in names and in texts. Better one harmless value hidden than one secret shown. */

export const REDACTED = '[redacted]';

/** Names without case and punctuation, so that `x-amz-security-token` and `xAmzSecurityToken` are one. */
const SECRET_NAMES = [
  'secretaccesskey',
  'secretkey',
  'sessiontoken',
  'securitytoken',
  'authorization',
  'password',
  'passwd',
  'pgpassword',
  'sealingkey',
  'apikey',
  'customerkey',
  'ssecustomerkey',
  'clientsecret',
  'privatekey',
  'cookie',
];
const HARMLESS_ENDINGS = ['md5', 'algorithm', 'id'];

export function isSecretName(name: string): boolean {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '');
  return (
    SECRET_NAMES.some((secret) => plain.includes(secret)) &&
    !HARMLESS_ENDINGS.some((ending) => plain.endsWith(ending))
  );
}

const RULES: readonly [RegExp, string][] = [
  // user:password@ in an address, up to the last @ before the path, for a password may hold one itself
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#"'<>\\]*@/gi, `$1${REDACTED}@`],
  // parameters of presigned addresses (AWS, Google, Azure, CloudFront) and of whatever else names a secret
  [
    /([?&](?:amp;)?(?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|signature|sig|key-pair-id|policy|awsaccesskeyid|googleaccessid|[\w.-]*(?:token|secret|password|passwd|api_?key|access_?key)[\w.-]*)=)[^&\s"'<>\\#]+/gi,
    `$1${REDACTED}`,
  ],
  // Authorization headers, in every scheme
  [/\b(AWS4-HMAC-SHA256)\s+Credential=[^"'\\\n]*/gi, `$1 ${REDACTED}`],
  [/\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{8,}/gi, `$1 ${REDACTED}`],
  // name: value, name=value and "name":"value", also where quotes are escaped because JSON stands in a JSON text
  [
    /((?:secret_?-?access_?-?key|session_?-?token|security-?token|authorization|password|passwd|sealing_?-?key|api_?-?key|customer-?key|client_?-?secret|private_?-?key)(?:\\*["'])?\s*[:=]\s*)(\\*["'])(?:(?!\2)(?:\\.|[^\\\n]))*/gi,
    `$1$2${REDACTED}`,
  ],
  [
    /((?:secret_?-?access_?-?key|session_?-?token|security-?token|password|passwd|sealing_?-?key|api_?-?key|customer-?key|client_?-?secret)\s*[:=]\s*)(?!\[redacted\])[^\s"'\\,;&}]+/gi,
    `$1${REDACTED}`,
  ],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, REDACTED],
];

/** The text with every secret in it hidden; for logs, messages of errors, and everything else that leaves. */
export function scrub(text: string): string {
  return RULES.reduce((scrubbed, [pattern, replacement]) => scrubbed.replace(pattern, replacement), text);
}
