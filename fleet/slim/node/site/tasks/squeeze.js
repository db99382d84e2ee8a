const zlib = require('zlib');
const crypto = require('crypto');
const { execFileSync } = require('child_process');

let text = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => { text += chunk; });
process.stdin.on('end', () => {
  const packed = zlib.brotliCompressSync(text);
  const pair = crypto.generateKeyPairSync('ed25519');
  console.log(zlib.brotliDecompressSync(packed).toString() === text, crypto.createHash('sha256').update(text).digest('hex').slice(0, 8));
  console.log(crypto.verify(null, packed, pair.publicKey, crypto.sign(null, packed, pair.privateKey)));
  console.log(execFileSync('/bin/sh', ['-c', 'echo "$0"', 'leek']).toString());
});
