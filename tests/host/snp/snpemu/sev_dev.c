// SPDX-License-Identifier: GPL-2.0
/* /dev/sev: what user space asks of the platform, and the file by which KVM knows that its caller may use the firmware. */
#include <linux/module.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/psp-sev.h>
#include <linux/uaccess.h>
#include "snpemu.h"

static long put(u64 to, const void *from, size_t len)
{
	return copy_to_user((void __user *)to, from, len) ? -EFAULT : 0;
}

static long sev_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	struct sev_user_data_snp_status snp = {
		.api_major = FW_API_MAJOR, .api_minor = FW_API_MINOR, .state = 1, .is_rmp_initialized = 1, .build_id = 1,
	};
	/* The old query, which VMMs issue for SNP guests, too. flags: SEV-ES configured */
	struct sev_user_data_status old = {
		.api_major = FW_API_MAJOR, .api_minor = FW_API_MINOR, .state = 1, .flags = 1u << 8, .build = 1,
	};
	struct sev_issue_cmd cmd;
	long r;

	if (request != SEV_ISSUE_CMD)
		return -EINVAL;
	if (copy_from_user(&cmd, (void __user *)arg, sizeof(cmd)))
		return -EFAULT;
	switch (cmd.cmd) {
	case SEV_PLATFORM_STATUS:
		r = put(cmd.data, &old, sizeof(old));
		break;
	case SNP_PLATFORM_STATUS:
		r = put(cmd.data, &snp, sizeof(snp));
		break;
	case SNP_COMMIT:
		if (!(file->f_mode & FMODE_WRITE))
			return -EPERM;
		r = 0;
		break;
	default:
		return -EINVAL;
	}
	cmd.error = 0;
	return r ?: put(arg, &cmd, sizeof(cmd));
}

static const struct file_operations sev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = sev_ioctl,
};

static struct miscdevice sev_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sev",
	.fops = &sev_fops,
};

int sev_issue_cmd_external_user(struct file *file, unsigned int cmd, void *data, int *error)
{
	if (!file || file->f_op != &sev_fops)
		return -EBADF;
	return sev_do_cmd(cmd, data, error);
}
EXPORT_SYMBOL_GPL(sev_issue_cmd_external_user);

int sev_dev_init(void)
{
	return misc_register(&sev_misc);
}

void sev_dev_exit(void)
{
	misc_deregister(&sev_misc);
}
