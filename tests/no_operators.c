/* A library for --custom-operators that registers nothing. */
int nothing_to_register(void);

int nothing_to_register(void)
{
    return 0;
}
