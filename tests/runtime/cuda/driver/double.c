/* A double of the CUDA driver: memory of the host, streams that do everything at once, kernels that do nothing.

   The layers above it (Numba, NVIDIA's bindings, runtime/cuda) run as they would on a GPU, with code compiled for one, and what they
   ask for is held to rules of the driver that a simulator of kernels knows nothing of, above all those of capturing a stream (CUDA
   driver API, stream management): in a capture nothing is waited for, looked at, loaded or allocated, no stream waits for what is
   outside of it, and all streams that take part are joined before it ends. What breaks a rule gets the driver's error. Calls are
   counted. Names are those of cuda.h, whose macros append versions. */

#include <cuda.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { STREAMS = 64, NODES = 1 << 14, CALLS = 128, ALIGN = 512, CODE = 2 << 20, THREADS = 1024, PASSED = 256 };
static const size_t TOTAL = (size_t)1 << 30;

typedef struct { int used, in_capture; long done, seen[STREAMS]; } Stream; /* seen[k]: work of stream k that came before */
typedef struct { int in_capture, has_come; uint64_t at; long seen[STREAMS]; } Event;
typedef struct { enum { KERNEL, COPY, RECORD } kind; void *to; const void *from; size_t size; } Node;
typedef struct { int count; Node nodes[NODES]; } Graph;
typedef struct { const char *name; int is_loaded; } Function;

static Stream streams[STREAMS] = {{1}};
static Graph *captured;
static int origin, is_broken, depth;
static size_t taken;
static uint64_t clock_ns = 1000;
static char context;
static struct { const char *name; long count; } calls[CALLS];
static struct { Function *function; unsigned grid[3], threads; int count; uint64_t words[PASSED]; } last; /* launch */

/* ------------------------------------------------------------------------------------------------ what tests ask for */

static int same(const char *a, const char *b) { /* but for the version that a macro appended */
  size_t n = strcspn(a, "_"), m = strcspn(b, "_");
  return n == m && !strncmp(a, b, n);
}

long double_calls(const char *name) {
  for (int i = 0; i < CALLS && calls[i].name; i++)
    if (same(calls[i].name, name)) return calls[i].count;
  return 0;
}

size_t double_taken(void) { return taken; }

void double_listen(int count) { last.count = count; } /* of the launches to come, so many parameters of a word each are noted */
const char *double_name(void) { return last.function->name; }
unsigned double_shape(int axis) { return axis < 3 ? last.grid[axis] : last.threads; }
uint64_t double_word(int i) { return last.words[i]; }

static CUresult counted(const char *name) {
  int i = 0;
  while (calls[i].name && !same(calls[i].name, name)) i++;
  calls[i].name = name;
  calls[i].count++;
  return CUDA_SUCCESS;
}
#define CALL counted(__func__)

static CUresult broken(CUresult why) { /* a call that a capture does not survive */
  is_broken = 1;
  return why;
}

/* ------------------------------------------------------------------------------------------------ device and context */

CUresult cuInit(unsigned flags) { return CALL; }
CUresult cuDriverGetVersion(int *to) { *to = 13000; return CALL; }
CUresult cuDeviceGetCount(int *to) { *to = 1; return CALL; }
CUresult cuDeviceGet(CUdevice *to, int i) { *to = i; return i ? CUDA_ERROR_INVALID_DEVICE : CALL; }
CUresult cuDeviceGetName(char *to, int size, CUdevice d) { strncpy(to, "Double", size); return CALL; }
CUresult cuDeviceGetUuid(CUuuid *to, CUdevice d) { memset(to, 7, sizeof *to); return CALL; }
CUresult cuDeviceTotalMem(size_t *to, CUdevice d) { *to = TOTAL; return CALL; }
CUresult cuDeviceGetAttribute(int *to, CUdevice_attribute a, CUdevice d) {
  switch (a) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *to = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *to = 0; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *to = 132; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *to = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *to = THREADS; break;
    default: *to = 1;
  }
  return CALL;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *to, CUdevice d) { *to = (CUcontext)&context; return CALL; }
CUresult cuDevicePrimaryCtxRelease(CUdevice d) { return CALL; }
CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned *flags, int *on) { *flags = 0; *on = depth > 0; return CALL; }
CUresult cuCtxGetCurrent(CUcontext *to) { *to = depth ? (CUcontext)&context : 0; return CALL; }
CUresult cuCtxSetCurrent(CUcontext c) { depth = c ? (depth ? depth : 1) : 0; return CALL; }
CUresult cuCtxPushCurrent(CUcontext c) { depth++; return CALL; }
CUresult cuCtxPopCurrent(CUcontext *to) {
  CALL;
  if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
  if (to) *to = (CUcontext)&context;
  depth--;
  return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *to) { *to = 0; return depth ? CALL : CUDA_ERROR_INVALID_CONTEXT; }
CUresult cuCtxSynchronize(void) {
  CALL;
  if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
  return captured ? broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) : CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult e, const char **to) { *to = "AN_ERROR"; return CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult e, const char **to) { *to = "an error"; return CUDA_SUCCESS; }

/* ------------------------------------------------------------------------------------- memory: its size stands before it */

static void *room(size_t size) {
  char *found = aligned_alloc(ALIGN, (size + 2 * ALIGN - 1) / ALIGN * ALIGN);
  memset(found, 0xA5, size + ALIGN); /* what memory holds is not known */
  *(size_t *)found = size;
  return found + ALIGN;
}
CUresult cuMemAlloc(CUdeviceptr *to, size_t size) {
  CALL;
  if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
  if (captured) return broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  if (taken + size > TOTAL) return CUDA_ERROR_OUT_OF_MEMORY;
  taken += size;
  *to = (CUdeviceptr)room(size);
  return CUDA_SUCCESS;
}
CUresult cuMemFree(CUdeviceptr p) {
  CALL;
  if (captured) return broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  taken -= *(size_t *)(p - ALIGN);
  free((void *)(p - ALIGN));
  return CUDA_SUCCESS;
}
CUresult cuMemHostAlloc(void **to, size_t size, unsigned flags) { *to = room(size); return CALL; }
CUresult cuMemFreeHost(void *p) {
  CALL;
  if (captured) return broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  free((char *)p - ALIGN);
  return CUDA_SUCCESS;
}
CUresult cuMemGetInfo(size_t *left, size_t *total) {
  CALL;
  *left = TOTAL - taken, *total = TOTAL;
  return depth ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* ------------------------------------------------------------------------------------------------ streams and events */

static int number(CUstream s) { return s == 0 || s == CU_STREAM_LEGACY ? 0 : (int)((Stream *)s - streams); }

static CUresult put(CUstream s, Node node) { /* do something, or note it in the graph */
  Stream *on = &streams[number(s)];
  if (on == streams && captured) return broken(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  on->seen[number(s)] = ++on->done;
  clock_ns += 1000;
  if (on->in_capture) {
    if (captured->count == NODES) return CUDA_ERROR_OUT_OF_MEMORY;
    captured->nodes[captured->count++] = node;
    return CUDA_SUCCESS;
  }
  if (node.kind == COPY) memcpy(node.to, node.from, node.size);
  if (node.kind == RECORD) ((Event *)node.to)->at = clock_ns, ((Event *)node.to)->has_come = 1;
  return CUDA_SUCCESS;
}
CUresult cuStreamCreate(CUstream *to, unsigned flags) {
  CALL;
  for (int k = 1; k < STREAMS; k++)
    if (!streams[k].used) {
      streams[k] = (Stream){.used = 1};
      *to = (CUstream)&streams[k];
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuStreamDestroy(CUstream s) { streams[number(s)].used = 0; return CALL; }
CUresult cuStreamSynchronize(CUstream s) {
  CALL;
  return streams[number(s)].in_capture ? broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) : CUDA_SUCCESS;
}
CUresult cuStreamGetCtx(CUstream s, CUcontext *to) { *to = (CUcontext)&context; return CALL; }
CUresult cuStreamGetFlags(CUstream s, unsigned *to) { *to = 0; return CALL; }
CUresult cuStreamGetDevice(CUstream s, CUdevice *to) { *to = 0; return CALL; }
CUresult cuEventCreate(CUevent *to, unsigned flags) { *to = calloc(1, sizeof(Event)); return CALL; }
CUresult cuEventDestroy(CUevent e) { free(e); return CALL; }
CUresult cuEventRecordWithFlags(CUevent handle, CUstream s, unsigned flags) {
  CALL;
  Event *e = (Event *)handle;
  Stream *on = &streams[number(s)];
  if (flags & CU_EVENT_RECORD_EXTERNAL && !on->in_capture) return CUDA_ERROR_ILLEGAL_STATE;
  e->in_capture = on->in_capture && !(flags & CU_EVENT_RECORD_EXTERNAL);
  if (!e->in_capture) return put(s, (Node){RECORD, .to = e});
  memcpy(e->seen, on->seen, sizeof e->seen); /* it only says what waits for what */
  return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent e, CUstream s) { CALL; return cuEventRecordWithFlags(e, s, 0); }
static CUresult looked(CUevent e) { return ((Event *)e)->in_capture ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS; }
CUresult cuEventQuery(CUevent e) { CALL; return looked(e); }
CUresult cuEventSynchronize(CUevent e) { CALL; return looked(e); }
CUresult cuEventElapsedTime(float *to, CUevent a, CUevent b) {
  CALL;
  const Event *x = (Event *)a, *y = (Event *)b;
  if (x->in_capture || y->in_capture) return CUDA_ERROR_CAPTURED_EVENT;
  if (!x->has_come || !y->has_come) return CUDA_ERROR_INVALID_HANDLE;
  *to = (float)(((double)y->at - (double)x->at) * 1e-6);
  return CUDA_SUCCESS;
}
CUresult cuStreamWaitEvent(CUstream s, CUevent handle, unsigned flags) {
  CALL;
  const Event *e = (Event *)handle;
  Stream *to = &streams[number(s)];
  if (to->in_capture && !e->in_capture) return broken(CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  if (e->in_capture && !captured) return CUDA_ERROR_CAPTURED_EVENT;
  if (!e->in_capture) return CUDA_SUCCESS;
  if (!to->in_capture) *to = (Stream){.used = 1, .in_capture = 1};
  for (int k = 0; k < STREAMS; k++)
    if (e->seen[k] > to->seen[k]) to->seen[k] = e->seen[k];
  return CUDA_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ captures and graphs */

CUresult cuStreamBeginCapture(CUstream s, CUstreamCaptureMode mode) {
  CALL;
  if (!number(s) || captured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  captured = calloc(1, sizeof *captured);
  origin = number(s), is_broken = 0;
  streams[origin] = (Stream){.used = 1, .in_capture = 1};
  return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream s, CUgraph *to) {
  CALL;
  CUresult found = is_broken ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
  *to = 0;
  if (!captured) return CUDA_ERROR_ILLEGAL_STATE;
  if (number(s) != origin) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  for (int k = 1; k < STREAMS; k++) {
    if (!found && streams[k].in_capture && streams[k].done > streams[origin].seen[k]) found = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    streams[k].in_capture = 0;
  }
  if (!found) *to = (CUgraph)captured;
  else free(captured);
  captured = 0;
  return found;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *to, CUgraph g, unsigned long long flags) {
  CALL;
  *to = memcpy(malloc(sizeof(Graph)), g, sizeof(Graph));
  taken += CODE; /* of the driver, for the graph */
  return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph g) { free(g); return CALL; }
CUresult cuGraphExecDestroy(CUgraphExec g) { taken -= CODE; free(g); return CALL; }
CUresult cuGraphUpload(CUgraphExec g, CUstream s) { return CALL; }
CUresult cuGraphLaunch(CUgraphExec g, CUstream s) {
  CALL;
  const Graph *graph = (Graph *)g;
  if (streams[number(s)].in_capture) return broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  for (int i = 0; i < graph->count; i++) put(s, graph->nodes[i]);
  return CUDA_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ copies */

#define COPIES(name, To, From)                                                                      \
  CUresult name(To to, From from, size_t n) {                                                       \
    CALL;                                                                                           \
    return put(0, (Node){COPY, (void *)to, (const void *)from, n});                                 \
  }                                                                                                 \
  static CUresult name##_on_stream(To to, From from, size_t n, CUstream s) {                        \
    return counted(#name "Async"), put(s, (Node){COPY, (void *)to, (const void *)from, n});         \
  }
#undef cuMemcpyHtoD
#undef cuMemcpyDtoH
#undef cuMemcpyDtoD
COPIES(cuMemcpyHtoD, CUdeviceptr, const void *)
COPIES(cuMemcpyDtoH, void *, CUdeviceptr)
COPIES(cuMemcpyDtoD, CUdeviceptr, CUdeviceptr)
CUresult cuMemsetD8(CUdeviceptr p, unsigned char value, size_t n) {
  CALL;
  if (captured) return broken(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  memset((void *)p, value, n);
  return CUDA_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ code */

CUresult cuModuleLoadData(CUmodule *to, const void *code) {
  CALL;
  if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
  if (captured) return broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  if (memcmp(code, "\177ELF", 4)) { /* no cubin: the driver has it to assemble */
    if (!strstr(code, ".entry")) return CUDA_ERROR_INVALID_IMAGE;
    counted("assembly");
  }
  *to = (CUmodule)&context; /* it is never asked what is in it */
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *to, CUmodule m, const char *name) {
  CALL;
  Function *made = calloc(1, sizeof *made);
  made->name = strdup(name);
  *to = (CUfunction)made;
  return CUDA_SUCCESS;
}
static CUresult loaded(Function *f) { /* onto the device, which a capture does not bear */
  if (f->is_loaded) return CUDA_SUCCESS;
  if (captured) return broken(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  f->is_loaded = 1;
  taken += CODE;
  return CUDA_SUCCESS;
}
CUresult cuFuncLoad(CUfunction f) { CALL; return loaded((Function *)f); }
CUresult cuLaunchKernel(CUfunction f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                        CUstream s, void **parameters, void **extra) {
  CALL;
  if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
  if (!x || !y || !z || y > 65535 || z > 65535 || bx * by * bz - 1u >= THREADS) return CUDA_ERROR_INVALID_VALUE;
  CUresult found = loaded((Function *)f);
  if (found) return found;
  last.function = (Function *)f, last.grid[0] = x, last.grid[1] = y, last.grid[2] = z, last.threads = bx * by * bz;
  for (int i = 0; i < last.count; i++) last.words[i] = *(const uint64_t *)parameters[i];
  return put(s, (Node){KERNEL, .to = f});
}

/* ------------------------------------------------------------------------------------------------ how the bindings find it */

#define AT(name) {#name, (void *)name}
#define ALSO(name, at) {name, (void *)at}
static const struct { const char *name; void *at; } table[] = {
    AT(cuInit), AT(cuDriverGetVersion), AT(cuDeviceGetCount), AT(cuDeviceGet), AT(cuDeviceGetName),
    ALSO("cuDeviceGetUuid", cuDeviceGetUuid), ALSO("cuDeviceTotalMem", cuDeviceTotalMem), AT(cuDeviceGetAttribute),
    AT(cuDevicePrimaryCtxRetain), ALSO("cuDevicePrimaryCtxRelease", cuDevicePrimaryCtxRelease), AT(cuDevicePrimaryCtxGetState),
    AT(cuCtxGetCurrent), AT(cuCtxSetCurrent), ALSO("cuCtxPushCurrent", cuCtxPushCurrent), ALSO("cuCtxPopCurrent", cuCtxPopCurrent),
    ALSO("cuCtxGetDevice", cuCtxGetDevice), AT(cuCtxSynchronize), AT(cuGetErrorName), AT(cuGetErrorString),
    ALSO("cuMemAlloc", cuMemAlloc), ALSO("cuMemFree", cuMemFree), AT(cuMemHostAlloc), AT(cuMemFreeHost),
    ALSO("cuMemGetInfo", cuMemGetInfo), AT(cuStreamCreate), ALSO("cuStreamDestroy", cuStreamDestroy), AT(cuStreamSynchronize),
    ALSO("cuStreamGetCtx", cuStreamGetCtx), AT(cuStreamGetFlags), AT(cuStreamGetDevice), AT(cuEventCreate),
    ALSO("cuEventDestroy", cuEventDestroy), AT(cuEventRecord), AT(cuEventRecordWithFlags), AT(cuEventQuery), AT(cuEventSynchronize),
    ALSO("cuEventElapsedTime", cuEventElapsedTime), AT(cuStreamWaitEvent), ALSO("cuStreamBeginCapture", cuStreamBeginCapture),
    AT(cuStreamEndCapture), ALSO("cuGraphInstantiateWithFlags", cuGraphInstantiateWithFlags), AT(cuGraphDestroy),
    AT(cuGraphExecDestroy), AT(cuGraphUpload), AT(cuGraphLaunch), ALSO("cuMemcpyHtoD", cuMemcpyHtoD), ALSO("cuMemcpyDtoH", cuMemcpyDtoH),
    ALSO("cuMemcpyDtoD", cuMemcpyDtoD), ALSO("cuMemcpyHtoDAsync", cuMemcpyHtoD_on_stream),
    ALSO("cuMemcpyDtoHAsync", cuMemcpyDtoH_on_stream), ALSO("cuMemcpyDtoDAsync", cuMemcpyDtoD_on_stream),
    ALSO("cuMemsetD8", cuMemsetD8), AT(cuModuleLoadData), AT(cuModuleGetFunction), AT(cuFuncLoad), AT(cuLaunchKernel),
};
static const struct { const char *name; int version; } others[] = {{"cuCtxGetDevice", 13000}, {"cuStreamGetCtx", 12050}};

CUresult cuGetProcAddress_v2(const char *name, void **to, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *found) {
  *to = 0;
  for (unsigned i = 0; i < sizeof others / sizeof *others; i++) /* later ones of the same name take other arguments */
    if (!strcmp(others[i].name, name) && version >= others[i].version) return CUDA_ERROR_NOT_FOUND;
  for (unsigned i = 0; i < sizeof table / sizeof *table && version <= 13000; i++)
    if (!strcmp(table[i].name, name)) *to = table[i].at;
  return *to ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
