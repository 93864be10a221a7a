/*
 * peer: a port test with a second process, which is this very program started again with KERF_PEER
 * set to what it is to do. Packets are numbered and carry a pattern; other traffic is ignored.
 *
 *	int main(void) { return peer_role() ? play(peer_role()) : unit_run(...); }
 */
#pragma once

#include "port/port.h"

#include <rte_ether.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PEER_END UINT32_MAX /* number of the packet that ends an echo */
#define PEER_ETHERTYPE 0x88b5 /* for local experiments, IEEE 802 */
#define PEER_BURST 32

extern char **environ;

static inline const char *peer_role(void)
{
	return getenv("KERF_PEER");
}

static inline pid_t peer_start(const char *role)
{
	char *args[] = {"peer", NULL};
	pid_t pid = -1;

	setenv("KERF_PEER", role, 1);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ) != 0)
		pid = -1;
	unsetenv("KERF_PEER");
	return pid;
}

/* Exit code, or 128 + signal. */
static inline int peer_wait(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline unsigned peer_len(uint32_t number, unsigned mtu)
{
	return 60 + number * 7919u % (mtu + RTE_ETHER_HDR_LEN - 60 + 1);
}

static inline uint8_t peer_byte(uint32_t number, unsigned at)
{
	return (uint8_t)(number * 31 + at * 7 + (at >> 8));
}

static inline struct rte_mbuf *peer_packet(const struct kerf_port *p, uint32_t number)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(p->pool);
	unsigned len = peer_len(number, p->mtu);

	if (!m)
		return NULL;
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)len);
	struct rte_ether_hdr *eth = (struct rte_ether_hdr *)data;
	if (!data)
		abort();
	memset(&eth->dst_addr, 0xff, sizeof(eth->dst_addr));
	memcpy(&eth->src_addr, p->mac, sizeof(eth->src_addr));
	eth->ether_type = rte_cpu_to_be_16(PEER_ETHERTYPE);
	memcpy(data + sizeof(*eth), &number, sizeof(number));
	for (unsigned i = sizeof(*eth) + 4; i < len; i++)
		data[i] = peer_byte(number, i);
	return m;
}

/* -1 = other traffic, 0 = damaged or not the number expected, 1 = good. */
static inline int peer_check(const struct rte_mbuf *m, uint32_t expected, unsigned mtu)
{
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);
	const struct rte_ether_hdr *eth = (const struct rte_ether_hdr *)data;
	uint32_t number;

	if (m->data_len < 60 || eth->ether_type != rte_cpu_to_be_16(PEER_ETHERTYPE))
		return -1;
	memcpy(&number, data + sizeof(*eth), sizeof(number));
	if (number != expected || m->nb_segs != 1 || m->pkt_len != peer_len(number, mtu))
		return 0;
	for (unsigned i = sizeof(*eth) + 4; i < m->pkt_len; i++)
		if (data[i] != peer_byte(number, i))
			return 0;
	return 1;
}

/* Waits until the link is up; false after about 20 s. */
static inline bool peer_connect(struct kerf_port *p)
{
	for (unsigned i = 0; i < 20000; i++) {
		if (kerf_port_is_up(p))
			return true;
		usleep(1000);
	}
	return false;
}

/*
 * The same over a port that may lose packets: whole ones must come in order, what did not come for
 * 0.2 s is written off, and the last packets tell the peer to end. Returns how many came back.
 */
static inline uint32_t peer_exchange_lossy(struct kerf_port *p, uint32_t n, uint32_t window)
{
	struct rte_mbuf *pkts[PEER_BURST];
	uint32_t sent = 0, next = 0, whole = 0;

	for (unsigned idle = 0; next < n; idle++) {
		while (sent < n && sent - next < window) {
			struct rte_mbuf *m = peer_packet(p, sent);
			if (!m || kerf_port_tx(p, &m, 1) == 0) {
				rte_pktmbuf_free(m);
				break;
			}
			sent++;
		}
		unsigned got = kerf_port_rx(p, pkts, PEER_BURST);
		for (unsigned i = 0; i < got; i++) {
			while (next < sent && peer_check(pkts[i], next, p->mtu) == 0)
				next++; /* lost, or this one is damaged and then all are */
			if (next < sent && peer_check(pkts[i], next, p->mtu) > 0) {
				next++;
				whole++;
				idle = 0;
			}
			rte_pktmbuf_free(pkts[i]);
		}
		if (!got)
			usleep(100);
		if (idle > 2000) {
			next = sent;
			idle = 0;
		}
	}
	for (unsigned i = 0; i < 16; i++) {
		struct rte_mbuf *m = peer_packet(p, PEER_END);
		if (m && kerf_port_tx(p, &m, 1) == 0)
			rte_pktmbuf_free(m);
		usleep(10000);
	}
	return whole;
}

/*
 * Sends n numbered packets and takes them back from an echoing peer, in order, with at most
 * `window` on their way. Returns how many came back whole before one was wrong or nothing came for
 * long.
 */
static inline uint32_t peer_exchange(struct kerf_port *p, uint32_t n, uint32_t window)
{
	struct rte_mbuf *pkts[PEER_BURST];
	uint32_t sent = 0, back = 0;

	for (unsigned idle = 0; back < n && idle < 200000; idle++) {
		while (sent < n && sent - back < window) {
			struct rte_mbuf *m = peer_packet(p, sent);
			if (!m || kerf_port_tx(p, &m, 1) == 0) {
				rte_pktmbuf_free(m);
				break;
			}
			sent++;
		}
		unsigned got = kerf_port_rx(p, pkts, PEER_BURST);
		for (unsigned i = 0; i < got; i++) {
			int verdict = peer_check(pkts[i], back, p->mtu);
			rte_pktmbuf_free(pkts[i]);
			if (verdict == 0) {
				printf("packet %u is not what was sent\n", back);
				rte_pktmbuf_free_bulk(pkts + i + 1, got - i - 1);
				return back;
			}
			back += verdict > 0;
			idle = verdict > 0 ? 0 : idle;
		}
		if (!got)
			usleep(idle < 2000 ? 0 : 100);
	}
	return back;
}

/* Sends every packet back until `enough` of ours came (0 = for ever), one says that it is the end, or
 * nothing comes for long. */
static inline uint32_t peer_echo(struct kerf_port *p, uint32_t enough)
{
	struct rte_mbuf *pkts[PEER_BURST];
	uint32_t count = 0;

	for (unsigned idle = 0; (!enough || count < enough) && idle < 200000; idle++) {
		unsigned got = kerf_port_rx(p, pkts, PEER_BURST);
		for (unsigned i = 0; i < got; i++) {
			const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(pkts[i], void *);
			if (eth->ether_type != rte_cpu_to_be_16(PEER_ETHERTYPE)) {
				rte_pktmbuf_free(pkts[i]);
				continue;
			}
			if (peer_check(pkts[i], PEER_END, p->mtu) > 0) {
				rte_pktmbuf_free_bulk(pkts + i, got - i);
				return count;
			}
			for (unsigned tries = 0; kerf_port_tx(p, &pkts[i], 1) == 0; tries++) {
				if (tries == 20000) {
					rte_pktmbuf_free_bulk(pkts + i, got - i);
					return count;
				}
				usleep(10);
			}
			count++;
			idle = 0;
		}
		if (!got)
			usleep(idle < 2000 ? 0 : 100);
	}
	return count;
}
