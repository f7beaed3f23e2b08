/**
 * CRC32 (IEEE, as `zlib.crc32` computes it) of a concatenation, from the CRCs of its pieces. S3 calls the result a
 * full-object checksum. Works in GF(2) modulo the polynomial: appending n zero bytes multiplies by x^(8n).
 */
const POLYNOMIAL = 0xedb88320;
const X0 = 0x80000000;

function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = X0; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = (factor & 1) === 1 ? (factor >>> 1) ^ POLYNOMIAL : factor >>> 1;
  }
  return product >>> 0;
}

/** x^(2^n) for n = 0 to 31; the order of x divides 2^32 - 1, so higher powers wrap around. */
const SQUARES: readonly number[] = (() => {
  const squares = [0x40000000];
  for (let n = 1; n < 32; n++) {
    const last = squares[n - 1] as number;
    squares.push(multiply(last, last));
  }
  return squares;
})();

/** x^(8 × bytes). `bytes` may exceed 2^32. */
function zeros(bytes: number): number {
  let power = X0;
  let left = bytes;
  for (let n = 3; left > 0; n++, left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = multiply(SQUARES[n % 32] as number, power);
  }
  return power;
}

/** CRC32 of A followed by B, given both CRCs and the length of B in bytes. */
export function combineCrc32(crcA: number, crcB: number, lengthB: number): number {
  return (multiply(zeros(lengthB), crcA) ^ crcB) >>> 0;
}
