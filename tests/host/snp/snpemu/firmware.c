// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/snp-firmware: the other half of the firmware, a process in user space that keeps launch contexts, checks ID blocks and
 * answers guest messages. It reads a request and writes the reply, one at a time; firmware/src/protocol.rs is the other
 * side. While no process is there, launches are measured in the module alone (launch.c) and reports have no signature.
 */
#include <linux/module.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/psp-sev.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include "snpemu.h"

#define REQUEST_MAX	8192
#define REPLY_MAX	8192
#define PATIENCE	(60 * HZ)

struct request_header {
	__le32 command, length;
	__le64 guest;
};

struct reply_header {
	__le32 status, length;
};

static struct {
	bool attached;
	enum { IDLE, ASKED, TAKEN, ANSWERED } state;
	size_t request_len, reply_len;
	u8 request[REQUEST_MAX], reply[REPLY_MAX];
} channel;
static DEFINE_MUTEX(channel_lock);
static DECLARE_WAIT_QUEUE_HEAD(asked);
static DECLARE_WAIT_QUEUE_HEAD(answered);

bool firmware_attached(void)
{
	return READ_ONCE(channel.attached);
}

/*
 * Asks the process; the command queue makes this one caller at a time. @len bytes of @in, exactly @out_len bytes expected.
 * Returns the firmware status.
 */
int firmware_call(enum firmware_command command, u64 guest, const void *in, size_t len, void *out, size_t out_len)
{
	struct request_header h = {
		.command = cpu_to_le32(command), .length = cpu_to_le32(len), .guest = cpu_to_le64(guest),
	};
	struct reply_header r;
	int status = SEV_RET_HWSEV_RET_PLATFORM;

	mutex_lock(&channel_lock);
	if (!channel.attached || WARN_ON(sizeof(h) + len > REQUEST_MAX))
		goto out;
	memcpy(channel.request, &h, sizeof(h));
	memcpy(channel.request + sizeof(h), in, len);
	channel.request_len = sizeof(h) + len;
	channel.state = ASKED;
	mutex_unlock(&channel_lock);
	wake_up(&asked);
	wait_event_timeout(answered, READ_ONCE(channel.state) == ANSWERED || !READ_ONCE(channel.attached), PATIENCE);
	mutex_lock(&channel_lock);
	if (channel.state != ANSWERED) {
		pr_err("snpemu: the firmware process does not answer command %d\n", command);
		goto out;
	}
	memcpy(&r, channel.reply, sizeof(r));
	status = le32_to_cpu(r.status);
	if (status)
		goto out;
	if (channel.reply_len != sizeof(r) + out_len || le32_to_cpu(r.length) != out_len) {
		pr_err("snpemu: the firmware process answers command %d with %zu bytes\n", command, channel.reply_len);
		status = SEV_RET_HWSEV_RET_PLATFORM;
		goto out;
	}
	memcpy(out, channel.reply + sizeof(r), out_len);
out:
	channel.state = IDLE;
	mutex_unlock(&channel_lock);
	return status;
}

static int firmware_open(struct inode *inode, struct file *file)
{
	int r = 0;

	mutex_lock(&channel_lock);
	if (channel.attached)
		r = -EBUSY;
	else
		channel.attached = true;
	mutex_unlock(&channel_lock);
	return r;
}

static int firmware_release(struct inode *inode, struct file *file)
{
	mutex_lock(&channel_lock);
	channel.attached = false;
	mutex_unlock(&channel_lock);
	wake_up(&answered);
	return 0;
}

static ssize_t firmware_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	ssize_t r = wait_event_interruptible(asked, READ_ONCE(channel.state) == ASKED);

	if (r)
		return r;
	mutex_lock(&channel_lock);
	r = channel.request_len;
	if (channel.state != ASKED)
		r = -EAGAIN;
	else if (len < channel.request_len)
		r = -EMSGSIZE;
	else if (copy_to_user(to, channel.request, channel.request_len))
		r = -EFAULT;
	else
		channel.state = TAKEN;
	mutex_unlock(&channel_lock);
	return r;
}

static ssize_t firmware_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	ssize_t r = len;

	if (len < sizeof(struct reply_header) || len > REPLY_MAX)
		return -EINVAL;
	mutex_lock(&channel_lock);
	if (channel.state != TAKEN)
		r = -EINVAL;
	else if (copy_from_user(channel.reply, from, len))
		r = -EFAULT;
	if (r > 0) {
		channel.reply_len = len;
		channel.state = ANSWERED;
	}
	mutex_unlock(&channel_lock);
	wake_up(&answered);
	return r;
}

static const struct file_operations firmware_fops = {
	.owner = THIS_MODULE,
	.open = firmware_open,
	.release = firmware_release,
	.read = firmware_read,
	.write = firmware_write,
};

static struct miscdevice firmware_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "snp-firmware",
	.fops = &firmware_fops,
	.mode = 0600,
};

int firmware_init(void)
{
	return misc_register(&firmware_misc);
}

void firmware_exit(void)
{
	misc_deregister(&firmware_misc);
}
