/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PROMETHEUS_H
#define PROMETHEUS_H

#include <stdio.h>

struct json_object;

/**
 * prometheus_print() - print what machines say of themselves in Prometheus's text format, version 0.0.4
 * @out: where to
 * @machines: an array of answers to "stat"; of a machine that does not answer "name" alone
 */
void prometheus_print(FILE *out, struct json_object *machines);

#endif /* PROMETHEUS_H */
