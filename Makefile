# make run    installs what is missing, builds, and starts framegate with the example processors
# make test   everything that must hold, with real browsers
# make help   the rest

# Where rustup puts cargo, also in a shell that has not noticed yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)

TARGET := $(or $(CARGO_TARGET_DIR),target)
HEADER := crates/framegate-abi/include/framegate.h
PROCESSOR = $(CC) -shared -fPIC -O2 -I crates/framegate-abi/include $< -o $@

# `motion` first: the first processor is the default.
EXAMPLES := $(addprefix $(TARGET)/processors/,motion.so brightness.so framecode.so readall.so)
TEST_SOURCES := $(wildcard testdata/processors/*.c)
TEST_PROCESSORS := $(TEST_SOURCES:testdata/processors/%.c=$(TARGET)/processors/test/%.so)

# GStreamer's elements as processors, where GStreamer can be compiled against. In a folder of its own: nobody is offered it
# as a processor to start with, because alone it does nothing.
GST_MODULES := gstreamer-1.0 gstreamer-app-1.0 gstreamer-video-1.0
GST_FOUND := $(shell pkg-config --exists $(GST_MODULES) 2>/dev/null && echo yes)
GST_SOURCES := $(addprefix processors/gst/,framegate-gst.c pipeline.c words.c)
GST_BUILT := $(addprefix $(TARGET)/processors/gst/,framegate-gst.so framegate-gst-registry)
GST_CC = $(CC) -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra

.PHONY: run build processors gst test-processors test deny help
.DEFAULT_GOAL := help

run: build
	@exec $(TARGET)/release/framegate serve $(foreach so,$(EXAMPLES),-p $(so)) $(ARGS)

build:
	@scripts/setup.sh run
	cargo build --release --locked -p framegate -p framegate-engine
	@$(MAKE) --no-print-directory processors

processors: $(EXAMPLES) gst

ifeq ($(GST_FOUND),yes)
gst: $(GST_BUILT)
else
gst:
	@echo 'Without `gst:` pipelines: GStreamer is not there to compile against. On Debian:'
	@echo '    apt-get install libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-plugins-good'
endif

test-processors: $(TEST_PROCESSORS)

$(TARGET)/processors/%.so: examples/c/%.c $(HEADER)
	@mkdir -p $(@D)
	$(PROCESSOR)

$(TARGET)/processors/gst/framegate-gst.so: $(GST_SOURCES) $(wildcard processors/gst/*.h) $(HEADER)
	@mkdir -p $(@D)
	$(GST_CC) -shared -fPIC -I $(dir $(HEADER)) $(GST_SOURCES) -o $@ $(shell pkg-config --cflags --libs $(GST_MODULES)) -lm

$(TARGET)/processors/gst/framegate-gst-registry: processors/gst/registry.c
	@mkdir -p $(@D)
	$(GST_CC) $< -o $@ $(shell pkg-config --cflags --libs gstreamer-1.0)

$(TARGET)/processors/test/%.so: testdata/processors/%.c $(wildcard testdata/processors/*.h) $(HEADER)
	@mkdir -p $(@D)
	@$(PROCESSOR)

test:
	@scripts/setup.sh test
	@scripts/test.sh

deny:
	cargo deny check bans licenses sources

help:
	@echo 'make run              install what is missing, build, start on http://127.0.0.1:8080'
	@echo '                      ARGS="--listen 127.0.0.1:9000" adds options of `framegate serve`'
	@echo 'make build            the same without starting: target/release/framegate'
	@echo 'make processors       compile examples/c, and processors/gst where GStreamer is, to target/processors'
	@echo 'make test-processors  compile testdata/processors to target/processors/test'
	@echo 'make test             format, lints, all tests, Chromium, aiortc'
	@echo 'make deny             licences and sources of dependencies (needs cargo-deny)'
