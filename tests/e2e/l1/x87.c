// SPDX-License-Identifier: Apache-2.0
/* Loads an x87 status for ever: guests that run beside it must not notice. */
int main(void)
{
    static char area[512] __attribute__((aligned(16)));

    asm volatile("fxsave %0" : "=m"(area));
    for (;;)
        asm volatile("fxrstor %0" : : "m"(area));
}
