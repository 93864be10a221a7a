/* What takes over a second says so, on a terminal. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "model_common.h"

static const char *volatile doing; /* NULL = nothing */
static volatile sig_atomic_t shown;

static void show(int signal_number)
{
	static const char erase[] = "\r\033[K", rest[] = " ...";
	const char *text = doing;

	(void)signal_number;
	if (!text)
		return;
	shown = 1;
	if (write(STDERR_FILENO, erase, sizeof(erase) - 1) < 0 || write(STDERR_FILENO, text, strlen(text)) < 0 ||
		write(STDERR_FILENO, rest, sizeof(rest) - 1) < 0)
		shown = 0;
}

void model_progress(const char *what)
{
	static const struct itimerval from_the_first_second = {.it_value = {.tv_sec = 1}, .it_interval = {.tv_usec = 250000}};
	static const struct itimerval never;
	const bool was = doing != NULL;
	struct sigaction action = {.sa_handler = show, .sa_flags = SA_RESTART};

	doing = what;
	if (what && !was && isatty(STDERR_FILENO)) {
		sigaction(SIGALRM, &action, NULL);
		setitimer(ITIMER_REAL, &from_the_first_second, NULL);
	} else if (!what && was) {
		setitimer(ITIMER_REAL, &never, NULL);
		if (shown)
			fputs("\r\033[K", stderr);
		shown = 0;
	}
}
