/* SPDX-License-Identifier: GPL-2.0 */
/* The little of the kernel that snpemu.h and rmp_rules.c need, in user space */
#ifndef TEST_TYPES_H
#define TEST_TYPES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
typedef uint64_t u64;
typedef uint32_t u32;
typedef uint16_t u16;
typedef uint8_t u8;
typedef int64_t s64;
typedef int32_t s32;
typedef int8_t s8;
typedef unsigned int gfp_t;
typedef struct { int unused; } raw_spinlock_t;
typedef struct { long counter; } atomic64_t;
#define __printf(a, b)
#endif
