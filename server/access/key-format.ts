import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 43 digits of base 62 hold 256 bits. */
const SECRET_DIGITS = 43;
const CRC_DIGITS = 6;
const FORM = new RegExp(`^mk_([0-9a-z]{1,64})_([0-9A-Za-z]{${SECRET_DIGITS}})([0-9A-Za-z]{${CRC_DIGITS}})$`);

/** A new key, `mk_<id>_<secret><crc>`: the prefix tells a secret scanner what it found, the checksum that it is one. */
export function makeKey(id: string): string {
  const secret = Array.from({ length: SECRET_DIGITS }, () => BASE62[randomInt(62)]).join('');
  return `mk_${id}_${secret}${checksum(`mk_${id}_${secret}`)}`;
}

/** The id in a key; undefined where it is no key, or was mistyped: that takes no look at the database. */
export function idInKey(key: string): string | undefined {
  const [, id, , crc] = FORM.exec(key) ?? [];
  return crc !== undefined && checksum(key.slice(0, -CRC_DIGITS)) === crc ? id : undefined;
}

/** CRC-32 (as zlib's) in six digits of base 62. */
function checksum(text: string): string {
  let value = crc32(text);
  let digits = '';
  for (let n = 0; n < CRC_DIGITS; n += 1, value = Math.floor(value / 62)) digits = BASE62[value % 62] + digits;
  return digits;
}
