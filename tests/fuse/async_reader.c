/* Reads a file as no call of Python does: by the kernel's AIO (what libaio calls) or by io_uring.
 *
 *   async_reader aio|uring|uring-worker PATH OFFSET SIZE
 *
 * Writes what was read to standard output. Exit code 2: the kernel does not offer that interface here;
 * 3: the read failed, with the error's name on standard error. SIGTERM is handled, and ends nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void on_term(int number) { (void)number; }

static void unavailable(const char *call) {
  perror(call);
  exit(2);
}

static long aio_read(int file, void *buffer, size_t size, long long offset) {
  aio_context_t context = 0;
  struct iocb block = {.aio_lio_opcode = IOCB_CMD_PREAD,
                       .aio_fildes = (__u32)file,
                       .aio_buf = (__u64)buffer,
                       .aio_nbytes = size,
                       .aio_offset = offset};
  struct iocb *blocks[] = {&block};
  struct io_event event;
  if (syscall(SYS_io_setup, 1, &context) < 0) unavailable("io_setup");
  if (syscall(SYS_io_submit, context, 1, blocks) < 0) return -errno;
  while (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1)
    if (errno != EINTR) return -errno;
  return event.res;
}

static long uring_read(int file, void *buffer, size_t size, long long offset, __u8 flags) {
  struct io_uring_params params = {0};
  int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
  if (ring < 0) unavailable("io_uring_setup");
  size_t bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
  size_t other = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  if (other > bytes) bytes = other;
  char *rings = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                     IORING_OFF_SQ_RING); /* both rings: IORING_FEAT_SINGLE_MMAP, Linux 5.4 */
  struct io_uring_sqe *entry = mmap(0, sizeof *entry, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
  if (rings == MAP_FAILED || entry == MAP_FAILED) unavailable("mmap");
  *entry = (struct io_uring_sqe){.opcode = IORING_OP_READ,
                                 .flags = flags,
                                 .fd = file,
                                 .addr = (__u64)buffer,
                                 .len = (__u32)size,
                                 .off = (__u64)offset};
  *(unsigned *)(rings + params.sq_off.array) = 0;
  __atomic_store_n((unsigned *)(rings + params.sq_off.tail), 1, __ATOMIC_RELEASE);
  unsigned to_submit = 1;
  unsigned *tail = (unsigned *)(rings + params.cq_off.tail);
  while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == 0) {
    long entered = syscall(SYS_io_uring_enter, ring, to_submit, 1, IORING_ENTER_GETEVENTS, 0, 0);
    if (entered < 0 && errno != EINTR) return -errno;
    if (entered > 0) to_submit = 0;
  }
  return ((struct io_uring_cqe *)(rings + params.cq_off.cqes))->res;
}

int main(int count, char **arguments) {
  if (count != 5) return 64;
  size_t size = strtoull(arguments[4], NULL, 10);
  long long offset = strtoll(arguments[3], NULL, 10);
  struct sigaction action = {.sa_handler = on_term};
  sigaction(SIGTERM, &action, NULL);
  int file = open(arguments[2], O_RDONLY);
  if (file < 0) {
    perror(arguments[2]);
    return 64;
  }
  void *buffer = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  long got;
  if (strcmp(arguments[1], "aio") == 0)
    got = aio_read(file, buffer, size, offset);
  else
    got = uring_read(file, buffer, size, offset,
                     strcmp(arguments[1], "uring-worker") == 0 ? IOSQE_ASYNC : 0);
  if (got < 0) {
    fprintf(stderr, "%s\n", strerrorname_np((int)-got));
    return 3;
  }
  return fwrite(buffer, 1, (size_t)got, stdout) == (size_t)got ? 0 : 4;
}
