#include <string.h>

#include "app.h"

void app_transmit(struct kerf_port *port, struct app_unsent *u)
{
	unsigned sent;

	if (!u->n)
		return;
	sent = kerf_port_tx(port, u->pkts, u->n);
	u->n -= sent;
	memmove(u->pkts, u->pkts + sent, u->n * sizeof(u->pkts[0]));
}

void app_drop_unsent(struct app_unsent *u)
{
	for (unsigned i = 0; i < u->n; i++)
		rte_pktmbuf_free(u->pkts[i]);
	u->n = 0;
}
