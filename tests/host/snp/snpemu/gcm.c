// SPDX-License-Identifier: GPL-2.0
/* AES-256-GCM with a 96-bit nonce (NIST SP 800-38D), on the kernel's AES library. Simple and slow. */
#include <linux/kernel.h>
#include <linux/string.h>
#include <crypto/aes.h>
#include "compat.h"
#include "snpemu.h"

#define BLOCK 16

/* Multiplication in GF(2^128), algorithm 1 of the standard */
static void multiply(u8 *x, const u8 *h)
{
	u8 z[BLOCK] = {}, v[BLOCK];
	int i, j;

	memcpy(v, h, BLOCK);
	for (i = 0; i < 128; i++) {
		u8 low = v[15] & 1;

		if (x[i / 8] & 0x80 >> i % 8)
			for (j = 0; j < BLOCK; j++)
				z[j] ^= v[j];
		for (j = 15; j > 0; j--)
			v[j] = v[j] >> 1 | v[j - 1] << 7;
		v[0] >>= 1;
		if (low)
			v[0] ^= 0xe1;
	}
	memcpy(x, z, BLOCK);
}

static void hash(u8 *y, const u8 *h, const u8 *data, int len)
{
	int i;

	for (; len > 0; data += BLOCK, len -= BLOCK) {
		for (i = 0; i < BLOCK && i < len; i++)
			y[i] ^= data[i];
		multiply(y, h);
	}
}

static void counter_mode(const AES_KEY *key, u8 *counter, u8 *text, int len)
{
	u8 stream[BLOCK];
	u32 n = 1;
	int at, i;

	for (at = 0; at < len; at += BLOCK) {
		*(__be32 *)(counter + 12) = cpu_to_be32(++n);
		aes_encrypt(key, stream, counter);
		for (i = 0; i < BLOCK && at + i < len; i++)
			text[at + i] ^= stream[i];
	}
}

/* In place. Decryption fails with -1 and garbage in @text when @tag is wrong. One caller at a time. */
int gcm256(const u8 *key, const u8 *iv, const u8 *aad, int aad_len, u8 *text, int len, u8 *tag, bool encrypt)
{
	static AES_KEY aes;
	u8 h[BLOCK] = {}, counter[BLOCK] = {}, y[BLOCK] = {}, lengths[BLOCK], mask[BLOCK], differ = 0;
	int i;

	if (aes_key_expand(&aes, key, 32))
		return -1;
	aes_encrypt(&aes, h, h);
	memcpy(counter, iv, 12);
	hash(y, h, aad, aad_len);
	if (!encrypt)
		hash(y, h, text, len);
	counter_mode(&aes, counter, text, len);
	if (encrypt)
		hash(y, h, text, len);
	*(__be64 *)lengths = cpu_to_be64((u64)aad_len * 8);
	*(__be64 *)(lengths + 8) = cpu_to_be64((u64)len * 8);
	hash(y, h, lengths, BLOCK);
	*(__be32 *)(counter + 12) = cpu_to_be32(1);
	aes_encrypt(&aes, mask, counter);
	memzero_explicit(&aes, sizeof(aes));
	for (i = 0; i < BLOCK; i++) {
		y[i] ^= mask[i];
		differ |= y[i] ^ tag[i];
	}
	if (!encrypt)
		return differ ? -1 : 0;
	memcpy(tag, y, BLOCK);
	return 0;
}
