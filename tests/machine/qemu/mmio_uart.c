/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A 16550 in memory, as boards have them beside or instead of those at ports: QEMU's own UART, with registers of a
 * width and a distance of their own. What is accessed with another width, or between registers, is not there.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "hw/char/serial.h"
#include "hw/qdev-properties.h"

#define TYPE_MMIO_UART "mmio-uart"
OBJECT_DECLARE_SIMPLE_TYPE(MmioUart, MMIO_UART)

struct MmioUart {
    DeviceState parent_obj;
    SerialState serial;
    MemoryRegion registers;
    uint64_t addr;
    uint8_t stride, width;
};

static uint64_t mmio_uart_read(void *opaque, hwaddr at, unsigned size)
{
    MmioUart *s = opaque;

    return size != s->width || at % s->stride != 0 ? UINT64_MAX : serial_io_ops.read(&s->serial, at / s->stride, 1);
}

static void mmio_uart_write(void *opaque, hwaddr at, uint64_t value, unsigned size)
{
    MmioUart *s = opaque;

    if (size == s->width && at % s->stride == 0) {
        serial_io_ops.write(&s->serial, at / s->stride, value & 0xff, 1);
    }
}

static const MemoryRegionOps mmio_uart_ops = {
    .read = mmio_uart_read,
    .write = mmio_uart_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 4},
    .impl = {.min_access_size = 1, .max_access_size = 4},
};

static void mmio_uart_realize(DeviceState *dev, Error **errp)
{
    MmioUart *s = MMIO_UART(dev);

    if (s->addr == 0 || s->stride == 0 || (s->width != 1 && s->width != 2 && s->width != 4)) {
        error_setg(errp, "mmio-uart wants addr, stride, and width = 1, 2 or 4");
        return;
    }
    if (!qdev_realize(DEVICE(&s->serial), NULL, errp)) {
        return;
    }
    memory_region_init_io(&s->registers, OBJECT(dev), &mmio_uart_ops, s, "mmio-uart", 8 * s->stride);
    memory_region_add_subregion_overlap(get_system_memory(), s->addr, &s->registers, 1);
}

static void mmio_uart_instance_init(Object *obj)
{
    MmioUart *s = MMIO_UART(obj);

    object_initialize_child(obj, "serial", &s->serial, TYPE_SERIAL);
    qdev_alias_all_properties(DEVICE(&s->serial), obj);
}

static const Property mmio_uart_properties[] = {
    DEFINE_PROP_UINT64("addr", MmioUart, addr, 0),
    DEFINE_PROP_UINT8("stride", MmioUart, stride, 1),
    DEFINE_PROP_UINT8("width", MmioUart, width, 1),
};

static void mmio_uart_class_init(ObjectClass *class, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(class);

    dc->realize = mmio_uart_realize;
    dc->hotpluggable = false;
    device_class_set_props(dc, mmio_uart_properties);
}

static const TypeInfo mmio_uart_types[] = {
    {
        .name = TYPE_MMIO_UART,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(MmioUart),
        .instance_init = mmio_uart_instance_init,
        .class_init = mmio_uart_class_init,
    },
};

DEFINE_TYPES(mmio_uart_types)
